// Command copier copies images with Tagger's engine. It reads requests from its standard input, one a line,
//
//	host:port/repository@sha256:… host:port/namespace/tag:generation
//
// and writes the result of each as JSON. As the manager does, it checks first whether the generation exists, and remembers what
// it copied before.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/copier"
	"github.com/images-io/tagger/internal/registry/registriesconf"
	"github.com/images-io/tagger/internal/registry/transport"
	"github.com/images-io/tagger/internal/transfer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args, os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "copier:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, orders io.Reader, results io.Writer) error {
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	registriesConf := flags.String("registries-conf", "", "what the administrator says about registries")
	insecure := flags.Bool("insecure", false, "the mirror may speak plain HTTP")
	attachments := flags.Bool("attachments", false, "look for what is attached to an image, and copy it too")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	configuration, err := registriesconf.Load(*registriesConf, func(error) {}, nil)
	if err != nil {
		return err
	}
	client := registry.New(registry.Options{Options: transport.Options{Configuration: configuration}, Copies: copier.Limits{Attachments: *attachments}})
	for lines := bufio.NewScanner(orders); lines.Scan(); {
		order, err := parse(lines.Text())
		if err != nil {
			return err
		}
		order.Destination.Insecure = *insecure
		copied, err := copyUnlessThere(ctx, client, order)
		if err != nil {
			return fmt.Errorf("copying %s: %w", order.Source, err)
		}
		if err := json.NewEncoder(results).Encode(copied); err != nil {
			return err
		}
	}
	return nil
}

func copyUnlessThere(ctx context.Context, client *registry.Client, order registry.CopyRequest) (transfer.CopyResult, error) {
	if held, err := client.Head(ctx, order.Destination, order.Tag); err != nil || held == order.Digest {
		return transfer.CopyResult{}, err
	}
	return client.Copy(ctx, order)
}

// parse parses a request. The namespace is the folder of the destination's repository.
func parse(line string) (registry.CopyRequest, error) {
	var from, to string
	if _, err := fmt.Sscan(line, &from, &to); err != nil {
		return registry.CopyRequest{}, fmt.Errorf("%q is no order: %w", line, err)
	}
	source, err := reference.Parse(from, "")
	if err != nil {
		return registry.CopyRequest{}, err
	}
	destination, err := name.NewTag(to, name.StrictValidation)
	if err != nil {
		return registry.CopyRequest{}, err
	}
	return registry.CopyRequest{
		Source:      source,
		Digest:      source.Digest(),
		Destination: registry.Destination{Address: destination.RegistryStr(), Path: destination.RepositoryStr()},
		Tag:         destination.TagStr(),
		Namespace:   path.Dir(destination.RepositoryStr()),
	}, nil
}
