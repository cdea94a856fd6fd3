package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// The programs in an archive of setup-envtest, and those of a Kubernetes release.
var (
	inArchive = []string{"etcd", "kube-apiserver", "kubectl"}
	inRelease = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"}
)

// downloader downloads programs of one release for one platform into a folder.
type downloader struct {
	client          *http.Client
	messages        io.Writer
	index, releases string
	os, arch        string
	folder, release string
}

// download downloads the named programs that the sources have. It fails where it cannot reach a server, and says what else
// prevents a download.
func (d *downloader) download(ctx context.Context, names []string) error {
	if slices.ContainsFunc(names, func(name string) bool { return slices.Contains(inArchive, name) }) {
		if err := d.unlessUnreachable(d.fromArchive(ctx, names)); err != nil {
			return err
		}
	}
	for _, name := range names {
		if slices.Contains(inRelease, name) && !d.has(name) {
			if err := d.unlessUnreachable(d.fromRelease(ctx, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// unlessUnreachable returns an error to reach a server, and says any other.
func (d *downloader) unlessUnreachable(err error) error {
	var unreachable *url.Error
	if err == nil || errors.As(err, &unreachable) {
		return err
	}
	d.say("%v", err)
	return nil
}

func (d *downloader) say(format string, args ...any) {
	fmt.Fprintf(d.messages, "tools: "+format+"\n", args...)
}

// fromArchive writes the named programs of setup-envtest's archive.
func (d *downloader) fromArchive(ctx context.Context, names []string) error {
	text, err := d.get(ctx, d.index)
	if err != nil {
		return err
	}
	var index struct {
		Releases map[string]map[string]struct{ Hash, SelfLink string }
	}
	if err := yaml.Unmarshal(text, &index); err != nil {
		return fmt.Errorf("reading %s: %w", d.index, err)
	}
	archive := fmt.Sprintf("envtest-%s-%s-%s.tar.gz", d.release, d.os, d.arch)
	entry, found := index.Releases[d.release][archive]
	if !found {
		return fmt.Errorf("%s has no %s", d.index, archive)
	}
	file := filepath.Join(d.folder, archive)
	if err := d.save(ctx, entry.SelfLink, file, entry.Hash); err != nil {
		return err
	}
	return errors.Join(d.unpack(file, names), os.Remove(file))
}

// fromRelease writes a program of the Kubernetes release.
func (d *downloader) fromRelease(ctx context.Context, name string) error {
	link := strings.Join([]string{d.releases, d.release, "bin", d.os, d.arch, name}, "/")
	sum, err := d.get(ctx, link+".sha512")
	if err != nil {
		return err
	}
	fields := strings.Fields(string(sum)) // the file's name may follow
	if len(fields) == 0 {
		return fmt.Errorf("%s.sha512 is empty", link)
	}
	return d.save(ctx, link, d.path(name), fields[0])
}

func (d *downloader) path(name string) string { return filepath.Join(d.folder, name) }

func (d *downloader) has(name string) bool {
	_, err := os.Stat(d.path(name))
	return err == nil
}

// unpack writes the named programs of a compressed archive.
func (d *downloader) unpack(archive string, names []string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	compressed, err := gzip.NewReader(file)
	if err != nil {
		return fmt.Errorf("reading %s: %w", archive, err)
	}
	for entries := tar.NewReader(compressed); ; {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", archive, err)
		}
		if name := path.Base(entry.Name); entry.Typeflag == tar.TypeReg && slices.Contains(names, name) {
			if err := write(d.path(name), entries); err != nil {
				return err
			}
		}
	}
}

// save downloads a file, and removes it unless it has the SHA-512, in hexadecimal.
func (d *downloader) save(ctx context.Context, link, file, want string) error {
	body, err := d.open(ctx, link)
	if err != nil {
		return err
	}
	defer body.Close()
	d.say("downloading %s", link)
	hash := sha512.New()
	if err := write(file, io.TeeReader(body, hash)); err != nil {
		return errors.Join(fmt.Errorf("downloading %s: %w", link, err), os.Remove(file))
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != want {
		return errors.Join(fmt.Errorf("refusing %s: its SHA-512 is %s, published is %s", link, got, want), os.Remove(file))
	}
	return nil
}

// get downloads a small file.
func (d *downloader) get(ctx context.Context, link string) ([]byte, error) {
	body, err := d.open(ctx, link)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, 16<<20))
}

// open requests a file. The caller closes it.
func (d *downloader) open(ctx context.Context, link string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, err
	}
	response, err := d.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s: the server responds with %s", link, response.Status), response.Body.Close())
	}
	return response.Body, nil
}

// write writes an executable file.
func write(file string, content io.Reader) error {
	to, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, content)
	return errors.Join(err, to.Close())
}
