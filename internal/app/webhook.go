package app

import (
	"context"
	"time"

	"k8s.io/utils/ptr"
	webhookadmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// longestAdmission bounds an answer. It is the timeoutSeconds of config/webhook, after which nobody waits for it.
const longestAdmission = 5 * time.Second

// webhookFor serves an admission handler; a handler that panics answers with an error.
func webhookFor(handler webhookadmission.Handler) *webhookadmission.Webhook {
	return &webhookadmission.Webhook{Handler: finishing{handler}, RecoverPanic: ptr.To(true)}
}

// finishing lets an admission end that is under way when the manager is told to stop. The webhook server waits for it, but
// cancels its context at once: one that has to read a Tag would be refused.
type finishing struct{ handler webhookadmission.Handler }

// Handle implements admission.Handler.
func (f finishing) Handle(ctx context.Context, request webhookadmission.Request) webhookadmission.Response {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestAdmission)
	defer cancel()
	return f.handler.Handle(ctx, request)
}
