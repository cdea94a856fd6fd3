package config

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/images-io/tagger/internal/reference"
)

// mostAtOnce bounds a number of concurrent operations.
const mostAtOnce = 64

func validateCount(name string, count int) error {
	if count < 1 || count > mostAtOnce {
		return fmt.Errorf("%s is %d; write a number from 1 to %d", name, count, mostAtOnce)
	}
	return nil
}

func validateRegistry(name, address string) error {
	if _, err := reference.ParseMirror(address, address); err != nil {
		return fmt.Errorf("%s: %w", name, err) // without the value, which may contain a password
	}
	return nil
}

func validateAddress(name, address string) error {
	if address == "0" {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf(`%s is %q; write host:port, or "0" to turn it off`, name, address)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("%s is %q; the port is not a number", name, address)
	}
	return validatePort(name, number, 0)
}

func validatePort(name string, port, least int) error {
	if port < least || port > 65535 {
		return fmt.Errorf("%s is %d; write a port from %d to 65535", name, port, least)
	}
	return nil
}

func validateOneOf(name, value string, allowed []string) error {
	if !slices.Contains(allowed, value) {
		return fmt.Errorf("%s is %q; write one of %s", name, value, strings.Join(allowed, ", "))
	}
	return nil
}

func validateFile(name, path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func validateSet(name, value string) error {
	if value == "" {
		return fmt.Errorf("%s is empty", name)
	}
	return nil
}
