package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// demo starts everything in a folder of its own, runs the story, and cleans up, also after an interrupt. It keeps the logs of a
// failed demo only.
func demo(ctx context.Context, root string, out io.Writer) error {
	began := time.Now()
	parent := filepath.Join(root, ".demo")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("make .demo: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		return fmt.Errorf("make a folder in .demo: %w", err)
	}
	story, err := tell(ctx, root, dir, out)
	keepLogs := false
	switch {
	case err == nil:
		summary(out, story, time.Since(began))
	case ctx.Err() != nil:
		err = errors.New("the demo was interrupted")
	default:
		fmt.Fprintln(out)
		keepLogs = true
		err = fmt.Errorf("%w\nThe logs are in %s", err, filepath.Join(dir, "logs"))
	}
	return errors.Join(err, cleanUp(parent, dir, keepLogs))
}

// tell starts everything, runs the story, and stops everything.
func tell(ctx context.Context, root, dir string, out io.Writer) (_ *story, err error) {
	fmt.Fprintln(out, "Tagger, from a push to a rollout and back. It takes less than a minute, and the demo cleans up after itself.")
	s, err := startStack(ctx, dir, func(step string) { fmt.Fprintln(out, "demo:", step) })
	if err != nil {
		return nil, fmt.Errorf("the demo could not begin: %w", errors.Join(ctx.Err(), err))
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	story, err := newStory(root, s, out)
	if err != nil {
		return nil, err
	}
	return story, story.tell(ctx)
}

// cleanUp removes the demo's folder, except for wanted logs.
func cleanUp(parent, dir string, keepLogs bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	for _, entry := range entries {
		if keepLogs && entry.Name() == "logs" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("clean up: %w", err)
		}
	}
	if !keepLogs {
		_ = os.Remove(dir)
		_ = os.Remove(parent) // fails if another demo uses it
	}
	return nil
}

func summary(out io.Writer, story *story, took time.Duration) {
	fmt.Fprintf(out, "\nAll steps passed, in %d s:\n", int(took.Seconds()))
	for _, chapter := range story.chapters() {
		fmt.Fprintln(out, "  ✓", chapter.name)
	}
}
