package transport

import (
	"crypto/tls"
	"fmt"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// exporterLabel keeps our use of a TLS channel's exported secret apart from
// any other (RFC 8446, section 7.5).
const exporterLabel = "EXPORTER-signet-v1"

// bindingFormat is the number of a binding's layout.
const bindingFormat = 1

// Kinds of channel inside a binding.
const (
	channelTLS      = 1
	channelLoopback = 2 // plain HTTP on a loopback address
)

// A binding is what a device signs to open a connection. It is worth nothing
// on any other connection: under TLS because the exporter is a secret of that
// one channel, on loopback because the nonce is the service's and used once.
type binding struct {
	org         signet.OrgID
	device      signet.DeviceID
	channel     uint8
	exporter    [32]byte // zero on loopback
	nonce       [32]byte // zero under TLS
	certificate [32]byte // SHA-256 of the service's certificate (DER); zero on loopback
}

func (b *binding) bytes() []byte {
	var w wire.Writer
	w.U8(key.Suite)
	w.U8(bindingFormat)
	w.Raw(b.org[:])
	w.Raw(b.device[:])
	w.U8(b.channel)
	w.Raw(b.exporter[:])
	w.Raw(b.nonce[:])
	w.Raw(b.certificate[:])
	return w.B
}

// export fills in what only the two ends of this TLS channel know.
func (b *binding) export(s *tls.ConnectionState) error {
	e, err := s.ExportKeyingMaterial(exporterLabel, nil, len(b.exporter))
	if err != nil {
		return fmt.Errorf("tls exporter: %w", err)
	}
	b.channel = channelTLS
	copy(b.exporter[:], e)
	return nil
}
