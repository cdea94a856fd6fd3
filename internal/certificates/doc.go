// Package certificates makes the certificate that the webhooks are served with, where no other component does: in the plain
// installation. Authority and certificate are kept in a Secret, the authorities that API servers have to trust are written
// into the caBundle of the webhook configurations, and every replica serves from memory what the Secret holds.
//
// There is no leader: each replica decides by the same pure function (Policy.Decide) what the Secret needs, and of several
// that write at once the API server lets one, by resourceVersion. The others read again.
//
// An authority is trusted for Policy.Overlap before anything is signed by it, and so is the one before it afterwards.
package certificates
