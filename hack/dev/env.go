package main

import (
	"fmt"
	"os"
	"strings"
)

// variable is a line of .dev/env. Users' scripts use the names: they stay.
type variable struct{ name, value string }

func (s *stack) variables() []variable {
	return []variable{
		{"KUBECONFIG", s.cluster.Kubeconfig},
		{"REGISTRY_ADDRESS", s.registry.Address},
		{"CACHE_REGISTRY_ADDRESS", s.cache.Address},
		{"METRICS_URL", s.manager.MetricsURL},
		{"HEALTH_URL", s.manager.HealthURL},
		{"MANAGER_LOG", s.manager.Log},
		{"REGISTRIES_CONF", s.registriesConf},
		{"DOCKER_PUSH_URL", s.manager.DockerPushURL + "/docker/" + s.tokens["docker"]},
		{"QUAY_PUSH_URL", s.manager.QuayPushURL + "/quay/" + s.tokens["quay"]},
		{"PUSH_URL", s.pushURL()},
	}
}

// pushURL returns the URL of notifications that name images.
func (s *stack) pushURL() string { return s.manager.PushURL + "/generic/" + s.tokens["generic"] }

// writeEnv writes the variables in shell syntax, one NAME='value' a line.
func writeEnv(path string, variables []variable) error {
	var content strings.Builder
	for _, v := range variables {
		fmt.Fprintf(&content, "%s=%s\n", v.name, quote(v.value))
	}
	if err := os.WriteFile(path, []byte(content.String()), 0o644); err != nil {
		return fmt.Errorf("write the environment: %w", err)
	}
	return nil
}

// quote returns any text as one word of the shell.
func quote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
