// Package certificates issues the certificate of the webhooks where no other component does: in the plain installation. A
// Secret holds the authority and the certificate. The authorities that API servers have to trust are in the caBundle of the
// webhook configurations. Every replica serves the certificate of the Secret from memory.
//
// There is no leader: each replica decides with the same pure function (Policy.Decide). Of several concurrent writes the API
// server accepts one, by resourceVersion. The other replicas read again.
//
// An authority is trusted for Policy.Overlap before it signs a certificate, and the previous authority stays trusted as long
// afterwards.
package certificates
