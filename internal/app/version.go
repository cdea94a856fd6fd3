package app

import "runtime/debug"

// version is set by release builds.
var version string

// Version returns the version of the release or of the module, or devel.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
