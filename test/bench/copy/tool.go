package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tool is a program that copies images.
type tool struct {
	name    string
	command func(ctx context.Context, s *site, from, to string) *exec.Cmd
	// isPeer: a copy that fails is a row of the table, and not an error of the benchmark.
	isPeer bool
}

// tagger is Tagger's engine, in a process of its own like the others.
var (
	tagger            = tool{name: "Tagger", command: copier()}
	taggerAttachments = tool{name: "Tagger, looking for signatures too", command: copier("-attachments")}
)

// peers are all others, with their usual options: all platforms, without referrers.
func peers() []tool {
	tools := []tool{{"crane", crane, true}, {"regctl", regctl, true}, {"oras", oras, true}}
	if _, err := exec.LookPath("skopeo"); err == nil {
		tools = append(tools, tool{"skopeo", skopeo, true})
	}
	return tools
}

func copier(flags ...string) func(ctx context.Context, s *site, from, to string) *exec.Cmd {
	return func(ctx context.Context, s *site, from, to string) *exec.Cmd {
		cmd := s.copier(ctx, flags...)
		cmd.Stdin = strings.NewReader(from + " " + to + "\n")
		return cmd
	}
}

// copier is Tagger's engine, waiting for requests.
func (s *site) copier(ctx context.Context, flags ...string) *exec.Cmd {
	flags = append([]string{"-registries-conf", s.registriesConf()}, flags...)
	if s.plain() {
		flags = append(flags, "-insecure")
	}
	return s.program(ctx, "copier", flags...)
}

// crane uses plain HTTP on loopback by default.
func crane(ctx context.Context, s *site, from, to string) *exec.Cmd {
	return s.program(ctx, "crane", "copy", from, to)
}

func regctl(ctx context.Context, s *site, from, to string) *exec.Cmd {
	arguments := []string{"image", "copy", from, to}
	if s.plain() {
		arguments = append(arguments, "--host", "reg="+s.source.address()+",tls=disabled", "--host", "reg="+s.mirror.address()+",tls=disabled")
	}
	return s.program(ctx, "regctl", arguments...)
}

func oras(ctx context.Context, s *site, from, to string) *exec.Cmd {
	arguments := []string{"copy", from, to}
	if s.plain() {
		arguments = append(arguments, "--from-plain-http", "--to-plain-http")
	}
	return s.program(ctx, "oras", arguments...)
}

// skopeo compresses layers that are not compressed, which changes the image's digest, unless it has to preserve digests.
func skopeo(ctx context.Context, s *site, from, to string) *exec.Cmd {
	arguments := []string{"copy", "--all", "--preserve-digests", "--insecure-policy", "docker://" + from, "docker://" + to}
	if s.plain() {
		arguments = append(arguments, "--src-tls-verify=false", "--dest-tls-verify=false")
	}
	return s.program(ctx, "skopeo", arguments...)
}

// program returns a program of bin/, or else of the system, without any configuration but the authority to trust.
func (s *site) program(ctx context.Context, program string, arguments ...string) *exec.Cmd {
	path := filepath.Join(s.bin, program)
	if _, err := os.Stat(path); err != nil {
		path = program
	}
	cmd := exec.CommandContext(ctx, path, arguments...)
	cmd.Dir = s.dir
	cmd.Env = []string{"HOME=" + s.dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}
	if !s.plain() {
		cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+s.authorities())
	}
	return cmd
}
