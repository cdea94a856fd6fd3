//go:build faults

package crash

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/images-io/tagger/internal/app"
	"github.com/images-io/tagger/internal/config"
)

// endsAt is the variable that makes this binary a manager, with the point at which it exits.
const endsAt = "TAGGER_TEST_ENDS_AT"

// lanes is the number of concurrent control planes. They wait for leases most of the time.
const lanes = "4"

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(endsAt); ok {
		if err := manage(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	ctrl.SetLogger(logr.Discard()) // logs of the tests' own clients
	flag.Parse()
	if err := flag.Set("test.parallel", lanes); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// manage runs bin/manager's command, with the point at which it exits.
func manage(text string) error {
	p, err := parsePoint(text)
	if err != nil {
		return err
	}
	var cfg config.Config
	flags := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	cfg.AddFlags(flags)
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if err := cfg.Complete(os.LookupEnv); err != nil {
		return err
	}
	cluster, err := clientcmd.BuildConfigFromFlags("", cfg.Kubeconfig)
	if err != nil {
		return err
	}
	(&ending{point: p}).install(cluster)
	ctrl.SetLogger(zap.New(zap.UseDevMode(false)))
	return app.Run(ctrl.SetupSignalHandler(), cluster, cfg)
}
