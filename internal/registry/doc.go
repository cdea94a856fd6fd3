// Package registry is the client of container registries. It resolves an image to its digest, and copies images to the internal registry.
// Other packages see a Client, and errors of the package regerr.
//
// The path of a resolve: Resolve (client.go) takes the endpoints of the source from registriesconf, and the credentials for each from
// credentials; the digest cache shares requests; remote sends them, with tokens of auth; transport bounds what a host may send; throttle,
// next to the connection, refuses requests that have to wait.
//
// The path of a copy: Copy (copy.go) makes a copier, which reads all manifests of the image (graph.go), copies blobs and manifests, each
// after what it names (transfer.go), and then what is attached to the image (referrers.go, discover.go).
package registry
