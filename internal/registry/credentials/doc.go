// Package credentials reads pull secrets, and finds the credentials that were written for a repository.
package credentials
