// Command download downloads programs of the Kubernetes control plane, so that hack/build-tools.sh need not build them:
//
//	download FOLDER RELEASE NAME...
//
// It writes those of the named programs to FOLDER that Kubernetes RELEASE has for this platform: etcd, kube-apiserver and kubectl
// from the archive that setup-envtest installs, the others, and these where there is no archive, from the release itself. Each
// download must match its published SHA-512. The caller checks versions.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"time"
)

// Where setup-envtest finds its archives, and where Kubernetes publishes its releases.
const (
	envtestIndex       = "https://raw.githubusercontent.com/kubernetes-sigs/controller-tools/HEAD/envtest-releases.yaml"
	kubernetesReleases = "https://dl.k8s.io/release"
)

// Timeouts to connect, to receive a response, and of all downloads together.
const (
	connectTimeout  = 3 * time.Second
	responseTimeout = 10 * time.Second
	totalTimeout    = 5 * time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tools:", err)
		os.Exit(1)
	}
}

// run prints what prevents a download. It is not an error, because the caller builds what is not there.
func run(ctx context.Context, args []string, messages io.Writer) error {
	d := &downloader{client: client(), messages: messages, os: runtime.GOOS, arch: runtime.GOARCH}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&d.index, "index", envtestIndex, "URL of the index of setup-envtest's archives")
	flags.StringVar(&d.releases, "releases", kubernetesReleases, "URL of the folder of Kubernetes releases")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() < 3 {
		return errors.New("usage: download FOLDER RELEASE NAME")
	}
	d.folder, d.release = flags.Arg(0), flags.Arg(1)
	if err := os.MkdirAll(d.folder, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	if err := d.download(ctx, flags.Args()[2:]); err != nil {
		d.say("cannot download more, so it is built: %v", err)
	}
	return nil
}

func client() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: connectTimeout}).DialContext
	transport.TLSHandshakeTimeout = connectTimeout
	transport.ResponseHeaderTimeout = responseTimeout
	return &http.Client{Transport: transport}
}
