// Package registriesconf reads the administrator's registries.conf: mirrors, insecure and blocked registries.
package registriesconf
