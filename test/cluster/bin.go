package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// module is the first line of the go.mod that marks the root of a working copy.
const module = "module github.com/images-io/tagger"

// Root returns the root of the working copy of the current directory.
func Root() (string, error) {
	start, err := os.Getwd()
	if err == nil {
		start, err = filepath.EvalSymlinks(start) // one path, without symbolic links
	}
	if err != nil {
		return "", fmt.Errorf("find the working copy: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if firstLine(filepath.Join(dir, "go.mod")) == module {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is in no working copy of Tagger: no go.mod with %q above it", start, module)
		}
	}
}

// firstLine returns the first line of a file, or nothing if the file does not exist.
func firstLine(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Scan()
	return scanner.Text()
}

// findBin returns the folder of the programs, by default bin/ of the working copy, or an error that names each missing program.
func findBin(bin string, programs ...string) (string, error) {
	if bin == "" {
		root, err := Root()
		if err != nil {
			return "", err
		}
		bin = filepath.Join(root, "bin")
	}
	var missing []error
	for _, program := range programs {
		if _, err := os.Stat(filepath.Join(bin, program)); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, fmt.Errorf("%s is not in %s", program, bin))
		}
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("programs are missing, run `make tools build`:\n%w", errors.Join(missing...))
	}
	return bin, nil
}
