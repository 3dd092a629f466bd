// Package attack holds the attacks that Signet must stand: a service that
// lies, a client that signs whatever it likes, a revoked device that kept all
// its keys, and a search for plaintext and keys where none may be.
//
// Devices are real (homes, folders, engine), the service is the honest one with
// a liar in front of it that changes answers on their way, shows different
// devices different services, or signs histories of its own with the log's key.
// Each test says which row of doc/threat-model.md it holds. The package has no
// shipped code.
package attack
