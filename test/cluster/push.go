package cluster

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// PushTokens waits for the tokens of push notifications, which a manager creates, and returns them by sender.
func (c *Cluster) PushTokens(ctx context.Context) (map[string]string, error) {
	admin, err := client.New(c.Config, client.Options{})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	var secret corev1.Secret
	err = wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		err := admin.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: PushSecret}, &secret)
		return err == nil, client.IgnoreNotFound(err)
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the tokens of push notifications: %w", err)
	}
	tokens := map[string]string{}
	for sender, token := range secret.Data {
		tokens[sender] = string(token)
	}
	return tokens, nil
}
