// Package certificates holds what the plain installation promises about the certificate of its webhooks: two replicas of
// the real manager, with what the shipped roles allow, a real API server that asks them, and an administrator who breaks
// things.
package certificates
