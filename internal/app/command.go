// Package app wires the manager: it reads the configuration and runs the process.
package app

import (
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/images-io/tagger/internal/config"
)

// NewCommand returns the manager's command. It writes logs as JSON to the writer.
func NewCommand(lookup config.Lookup, logs io.Writer) *cobra.Command {
	var cfg config.Config
	command := &cobra.Command{
		Use:           "manager",
		Short:         "Pins image tags to digests, generation by generation, and rolls the workloads that use them",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       Version(),
		RunE: func(command *cobra.Command, _ []string) error {
			if err := cfg.Complete(lookup); err != nil {
				return fmt.Errorf("the configuration cannot be used:\n%w", err)
			}
			logTo(zap.New(zap.WriteTo(logs), zap.UseDevMode(false), zap.Level(level(cfg.LogLevel)), zap.Encoder(encoder())))
			rest, err := clientcmd.BuildConfigFromFlags("", cfg.Kubeconfig)
			if err != nil {
				return fmt.Errorf("reading the kubeconfig: %w", err)
			}
			return Run(command.Context(), rest, cfg)
		},
	}
	cfg.AddFlags(command.Flags())
	return command
}

// logTo writes everything in the process to the log as JSON: controller-runtime, client-go through klog, and net/http through
// the log package.
func logTo(logger logr.Logger) {
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	log.SetFlags(0)
	log.SetOutput(slog.NewLogLogger(logr.ToSlogHandler(logger), slog.LevelInfo).Writer())
}

// encoder writes times in RFC 3339.
func encoder() zapcore.Encoder {
	settings := zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", NameKey: "logger", MessageKey: "message", StacktraceKey: "stacktrace",
		EncodeTime: zapcore.RFC3339NanoTimeEncoder, EncodeLevel: zapcore.LowercaseLevelEncoder, EncodeDuration: zapcore.StringDurationEncoder,
	}
	return zapcore.NewJSONEncoder(settings)
}

func level(name string) zapcore.Level {
	switch name {
	case "debug":
		return zapcore.DebugLevel
	case "error":
		return zapcore.ErrorLevel
	default:
		return zapcore.InfoLevel
	}
}
