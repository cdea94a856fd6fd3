// Package certificates tests the promises of the plain installation about the certificate of its webhooks: two replicas of the
// real manager, with the shipped roles, a real API server that calls them, and an administrator who breaks things.
package certificates
