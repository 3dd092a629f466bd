// Package transport is the one road between a device and the service: Client
// is the device's end of the seams signet.Log and signet.Chunks, Handler the
// service's, over HTTP/1.1 and TLS 1.3.
//
// It promises that a private request is answered only on a connection that a
// device opened with its own key, the proof being good for that one TLS
// channel; that a peer which is not the pinned or certified one, or does not
// speak this protocol, is "unreachable" and never an alarm; that sizes, rates
// and memory are bounded on both ends; and that an error keeps its kind on the
// way. It does not promise that what the service answers is true: pages,
// receipts and objects go to the caller as they came, to be verified there. It
// retries nothing but a request on a kept connection that turned out closed.
//
// Bytes, limits, errors and what the service learns: spec/transport.md.
package transport
