package main

import (
	"os/exec"
	"path/filepath"
	"testing"
)

func TestEnvIsReadByTheShell(t *testing.T) {
	values := []string{
		"127.0.0.1:4000",
		"/home/a b/it's here/.dev/kubeconfig", // a working copy in a folder with a space and a quote
		`$HOME "x" \ *`,                       // nothing is expanded
	}
	path := filepath.Join(t.TempDir(), "env")
	for _, value := range values {
		if err := writeEnv(path, []variable{{"FIRST", "first"}, {"VALUE", value}}); err != nil {
			t.Fatal(err)
		}
		got, err := exec.Command("sh", "-c", `. "$0"; printf '%s|%s' "$FIRST" "$VALUE"`, path).Output()
		if want := "first|" + value; err != nil || string(got) != want {
			t.Errorf("the shell reads %q (%v), want %q", got, err, want)
		}
	}
}
