package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// shell runs commands as a user types them, and shows each with its output.
type shell struct {
	bin, dir string
	env      []string
	out      io.Writer
}

// newShell returns a shell that works in dir, finds the programs of this working copy first, and uses the cluster.
func newShell(root, dir, kubeconfig string, out io.Writer) *shell {
	bin := filepath.Join(root, "bin")
	return &shell{bin: bin, dir: dir, out: out, env: append(os.Environ(),
		"PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"), // kubectl finds its plugin there
		"KUBECONFIG="+kubeconfig,
		"KUBECACHEDIR="+filepath.Join(dir, "cache"), // the user's own caches stay as they are
		"DOCKER_CONFIG="+dir,
		"NO_PROXY=*", "no_proxy=*", // everything is on loopback
	)}
}

// run shows and runs a command, and returns what it wrote to its standard output.
func (s *shell) run(ctx context.Context, name string, args ...string) (string, error) {
	fmt.Fprintln(s.out, "$", line(name, args))
	stdout, stderr, err := s.execute(ctx, name, args)
	if name == "crane" && err == nil {
		stderr = "" // it logs each blob
	}
	for _, text := range []string{stderr, stdout} {
		if text != "" {
			fmt.Fprintln(s.out, strings.TrimRight(text, "\n"))
		}
	}
	if err != nil {
		return "", fmt.Errorf("`%s`: %w", line(name, args), err)
	}
	return stdout, nil
}

// holds shows a fact that the caller has checked.
func (s *shell) holds(format string, args ...any) {
	fmt.Fprintf(s.out, "✓ "+format+"\n", args...)
}

// query runs a command without showing it, for a check outside the story.
func (s *shell) query(ctx context.Context, name string, args ...string) (string, error) {
	stdout, stderr, err := s.execute(ctx, name, args)
	if err != nil {
		return "", fmt.Errorf("`%s`: %w: %s", line(name, args), err, stderr)
	}
	return stdout, nil
}

func (s *shell) execute(ctx context.Context, name string, args []string) (stdout, stderr string, err error) {
	var o, e bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, &o, &e
	err = cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err() // the error of a killed command is less useful
	}
	return o.String(), e.String(), err
}

// write writes a file and shows its content.
func (s *shell) write(name, content string) error {
	fmt.Fprintf(s.out, "$ cat %s\n%s", name, content)
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

var plain = regexp.MustCompile(`^[A-Za-z0-9@%_+=:,./-]+$`)

// line returns the command as a user types it.
func line(name string, args []string) string {
	words := []string{name}
	for _, arg := range args {
		flag, value, found := strings.Cut(arg, "=")
		switch {
		case plain.MatchString(arg):
			words = append(words, arg)
		case found && plain.MatchString(flag):
			words = append(words, flag+"="+quote(value))
		default:
			words = append(words, quote(arg))
		}
	}
	return strings.Join(words, " ")
}
