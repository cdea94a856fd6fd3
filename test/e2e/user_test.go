package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"

	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/harness"
)

// patience bounds every wait. It is three times the timeout of a request to a registry: a wait ends when its condition holds.
const patience = 90 * time.Second

// user runs kubectl in a namespace.
type user struct {
	t         *testing.T
	namespace string
	// path is the folder in which kubectl looks for plugins first.
	path string
}

var namespaceNames = strings.NewReplacer("/", "-", "_", "-", ",", "")

// newUser gives a test a namespace of its own.
func newUser(t *testing.T) *user {
	t.Helper()
	t.Parallel()
	return newUserAlone(t)
}

// newUserAlone is for a test that changes shared objects, before the others run.
func newUserAlone(t *testing.T) *user {
	t.Helper()
	name := strings.ToLower(namespaceNames.Replace(t.Name()))
	name = strings.Trim(name[:min(len(name), 50)], "-") + "-" + strconv.Itoa(int(time.Now().UnixNano()%100000))
	u := &user{t: t, namespace: name}
	u.kubectl("create namespace " + name)
	return u
}

// run runs kubectl with the words of a line, and with its standard input.
func (u *user) run(stdin string, args ...string) (string, error) {
	return u.runWith(u.t.Context(), stdin, args...)
}

// runWith is run with a context, for commands that outlive the test's.
func (u *user) runWith(ctx context.Context, stdin string, args ...string) (string, error) {
	root, err := cluster.Root()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	command := exec.CommandContext(ctx, filepath.Join(root, "bin", "kubectl"), u.options(args)...)
	command.Env = append(os.Environ(), "KUBECONFIG="+world.cluster.Kubeconfig, "PATH="+u.path+string(os.PathListSeparator)+os.Getenv("PATH"))
	command.Stdin = strings.NewReader(stdin)
	output, err := command.CombinedOutput()
	return string(output), err
}

// options puts the namespace after the words, since a plugin takes no flags before its name.
func (u *user) options(args []string) []string {
	return append(args, "--namespace", u.namespace)
}

// kubectl runs a line that has to succeed. Words are separated by spaces.
func (u *user) kubectl(line string) string {
	u.t.Helper()
	return u.with("", line)
}

// with is kubectl with standard input.
func (u *user) with(stdin, line string) string {
	u.t.Helper()
	output, err := u.run(stdin, strings.Fields(line)...)
	if err != nil {
		u.t.Fatalf("kubectl %s: %v\n%s\n%s", line, err, output, stdin)
	}
	return output
}

// refused is with for a command that has to fail. It returns kubectl's output.
func (u *user) refused(stdin, line string) string {
	u.t.Helper()
	output, err := u.run(stdin, strings.Fields(line)...)
	if err == nil {
		u.t.Fatalf("kubectl %s works and should not:\n%s\n%s", line, output, stdin)
	}
	return output
}

// get returns a JSONPath of an object.
func (u *user) get(object, path string) string {
	u.t.Helper()
	return u.kubectl("get " + object + " -o jsonpath={" + path + "}")
}

// becomes waits until a JSONPath of an object has a value.
func (u *user) becomes(object, path, want string) {
	u.t.Helper()
	u.eventually(object+" "+path+" is "+want, func() error {
		output, err := u.run("", "get", object, "-o", "jsonpath={"+path+"}")
		if err == nil && output != want {
			err = fmt.Errorf("it is %q", output)
		}
		return err
	})
}

// eventually waits until a condition holds.
func (u *user) eventually(what string, condition func() error) {
	u.t.Helper()
	harness.Eventually(u.t, what, patience, func(context.Context) error { return condition() })
}

// has fails the test unless the text has all the parts.
func (u *user) has(text string, parts ...string) {
	u.t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			u.t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

// source returns the test's image in the registry.
func (u *user) source() string { return world.registry.Address + "/" + u.namespace + "/myapp:latest" }

// push pushes a build and returns the image by its digest.
func (u *user) push(build string, options ...crane.Option) string {
	u.t.Helper()
	return u.pushTo(u.source(), build, options...)
}

func (u *user) pushTo(image, build string, options ...crane.Option) string {
	u.t.Helper()
	digest, err := cluster.PushImage(u.t.Context(), image, u.namespace+build, options...)
	if err != nil {
		u.t.Fatal(err)
	}
	return image[:strings.LastIndex(image, ":")] + "@" + digest
}

// imported creates a Tag of the first build, and waits for its import. It returns the image.
func (u *user) imported(name string) string {
	u.t.Helper()
	image := u.push("build 0")
	u.with(tagYAML(name, u.source(), "generation: 0"), "apply -f -")
	u.becomes("tag/"+name, ".status.references[0].imageReference", image)
	return image
}

// moved pushes a build, upgrades the Tag to its generation, and waits for it. It returns the image.
func (u *user) moved(name string, generation int) string {
	u.t.Helper()
	image := u.push(fmt.Sprint("build ", generation))
	u.request(name, generation)
	u.becomes("tag/"+name, ".status.generation", strconv.Itoa(generation))
	return image
}

// request selects a generation as kubectl tag does.
func (u *user) request(name string, generation int) {
	u.t.Helper()
	u.kubectl(fmt.Sprintf("annotate tag/%s --overwrite --field-manager=kubectl-tag images.io/requested-generation=%d", name, generation))
}

// replicaSets counts the ReplicaSets of a Deployment.
func (u *user) replicaSets(app string) int {
	u.t.Helper()
	return len(strings.Fields(u.kubectl("get replicasets -l app=" + app + " -o name")))
}

const containerImage = ".spec.template.spec.containers[0].image"

func tagYAML(name, from string, more ...string) string {
	return fmt.Sprintf(`apiVersion: images.io/v1
kind: Tag
metadata:
  name: %s
spec:
  from: %s
  cache: false
`, name, from) + lines("  ", more)
}

func deploymentYAML(app, image string, more ...string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  annotations:
    image-tag: "true"
  name: %[1]s
  labels:
    app: %[1]s
spec:
  replicas: 1
  selector:
    matchLabels:
      app: %[1]s
  template:
    metadata:
      labels:
        app: %[1]s
    spec:
      containers:
      - name: app
        image: %[2]s
`, app, image) + lines("        ", more)
}

func lines(indent string, more []string) string {
	var text strings.Builder
	for _, line := range more {
		text.WriteString(indent + line + "\n")
	}
	return text.String()
}
