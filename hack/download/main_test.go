package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const release = "v1.2.3"

var controlPlane = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"}

// origin serves files by their path, and counts requests.
type origin struct {
	server   *httptest.Server
	files    map[string][]byte
	requests int
}

// newOrigin serves setup-envtest's index and archive, and a Kubernetes release.
func newOrigin(t *testing.T) *origin {
	o := &origin{files: map[string][]byte{}}
	o.server = httptest.NewServer(o)
	t.Cleanup(o.server.Close)
	o.files["/archive.tar.gz"] = archive(t, "etcd", "kube-apiserver", "kubectl")
	o.publishIndex(release, sum(o.files["/archive.tar.gz"]))
	for _, name := range inRelease {
		path := strings.Join([]string{"/release", release, "bin", runtime.GOOS, runtime.GOARCH, name}, "/")
		o.files[path] = []byte(name + " of the release")
		o.files[path+".sha512"] = []byte(sum(o.files[path]))
	}
	return o
}

func (o *origin) publishIndex(release, hash string) {
	o.files["/index.yaml"] = fmt.Appendf(nil, "releases:\n  %s:\n    envtest-%s-%s-%s.tar.gz:\n      hash: %s\n      selfLink: %s/archive.tar.gz\n",
		release, release, runtime.GOOS, runtime.GOARCH, hash, o.server.URL)
}

// ServeHTTP implements http.Handler.
func (o *origin) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	o.requests++
	content, found := o.files[request.URL.Path]
	if !found {
		http.NotFound(w, request)
		return
	}
	_, _ = w.Write(content)
}

// download returns what the command writes, by name, and its messages.
func (o *origin) download(t *testing.T, names ...string) (programs map[string]string, messages string) {
	folder := filepath.Join(t.TempDir(), "downloads")
	var said bytes.Buffer
	args := []string{"download", "-index", o.server.URL + "/index.yaml", "-releases", o.server.URL + "/release", folder, release}
	if err := run(t.Context(), append(args, names...), &said); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	programs = map[string]string{}
	for _, entry := range entries {
		file := filepath.Join(folder, entry.Name())
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := entry.Info(); err != nil || info.Mode().Perm()&0o100 == 0 {
			t.Errorf("%s is not executable: %v, %v", file, info, err)
		}
		programs[entry.Name()] = string(content)
	}
	return programs, said.String()
}

func archive(t *testing.T, names ...string) []byte {
	var buffer bytes.Buffer
	compressed := gzip.NewWriter(&buffer)
	entries := tar.NewWriter(compressed)
	for _, name := range names {
		content := []byte(name + " of the archive")
		if err := entries.WriteHeader(&tar.Header{Name: "controller-tools/envtest/" + name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := entries.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := entries.Close(); err != nil {
		t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

func sum(content []byte) string { return fmt.Sprintf("%x", sha512.Sum512(content)) }

const scheduler = "/release/" + release + "/bin/" + runtime.GOOS + "/" + runtime.GOARCH + "/kube-scheduler"

func TestDownload(t *testing.T) {
	const archive, kubernetes = " of the archive", " of the release"
	for _, test := range []struct {
		name   string
		change func(*origin)
		// want is where each program comes from: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl.
		want [5]string
		says string
	}{
		{
			"the archive first, then the release", func(*origin) {},
			[5]string{archive, archive, kubernetes, kubernetes, archive}, "downloading",
		},
		{
			"an archive with another checksum is refused", func(o *origin) { o.publishIndex(release, sum([]byte("other"))) },
			[5]string{"", kubernetes, kubernetes, kubernetes, kubernetes}, "refusing",
		},
		{
			"an archive of another release is not taken", func(o *origin) { o.publishIndex("v1.2.4", sum(o.files["/archive.tar.gz"])) },
			[5]string{"", kubernetes, kubernetes, kubernetes, kubernetes}, "has no envtest-" + release,
		},
		{
			"a program with another checksum is refused", func(o *origin) { o.files[scheduler] = []byte("other") },
			[5]string{archive, archive, kubernetes, "", archive}, "refusing",
		},
		{
			"a program without a checksum is refused", func(o *origin) { delete(o.files, scheduler+".sha512") },
			[5]string{archive, archive, kubernetes, "", archive}, "404 Not Found",
		},
		{
			"an unreachable server is one message", func(o *origin) { o.server.Close() },
			[5]string{}, "tools: cannot download more",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := newOrigin(t)
			test.change(o)
			want := map[string]string{}
			for i, name := range controlPlane {
				if test.want[i] != "" {
					want[name] = name + test.want[i]
				}
			}
			got, messages := o.download(t, append(controlPlane, "kwok")...)
			if !maps.Equal(got, want) {
				t.Errorf("downloaded %v, want %v", got, want)
			}
			if !strings.Contains(messages, test.says) || (len(want) == 0 && strings.Count(messages, "\n") != 1) {
				t.Errorf("messages: %q", messages)
			}
		})
	}
}

func TestDownload_NothingToDownload(t *testing.T) {
	o := newOrigin(t)
	if got, _ := o.download(t, "kwok", "registry"); len(got) != 0 || o.requests != 0 {
		t.Errorf("downloaded %v with %d requests", got, o.requests)
	}
}
