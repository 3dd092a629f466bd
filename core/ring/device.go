package ring

import (
	"fmt"

	"signet"
	"signet/core/key"
	"signet/core/wire"
)

// A Class says what kind of thing a device is.
type Class uint8

// Classes of devices.
const (
	Lasting   Class = 1 // a computer, a phone
	Browser   Class = 2 // in memory only, ends by itself
	Gateway   Class = 3
	Recovery  Class = 4 // a key on paper
	Connector Class = 5 // admits members, opens nothing, belongs to no ring
)

// String is the class's name on the command line.
func (c Class) String() string {
	switch c {
	case Lasting:
		return "lasting"
	case Browser:
		return "browser"
	case Gateway:
		return "gateway"
	case Recovery:
		return "recovery"
	case Connector:
		return "connector"
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// A Where is a device's claim about where its private keys rest. Nobody can
// check it.
type Where uint8

// Places for private keys.
const (
	InFile     Where = 1
	InKeyring  Where = 2 // a file sealed by a key in the operating system's keyring
	InHardware Where = 3
	OnPaper    Where = 4
)

// A Device is the public record of a device: what the directory says of it.
type Device struct {
	Class    Class
	Where    Where
	NotAfter int64 // ms since 1970 after which the device is no more; 0: none
	Sign     *key.Public
	Seal     key.Encryption // zero for a connector, which opens nothing
	Profile  signet.Hash    // commitment to the first sealed record of its name
}

const maxDevice = 1 + 1 + 8 + key.PublicSize + 2 + key.SealSize + 32

// ID is the device's name: the hash of its two public keys and its class.
func (d *Device) ID() signet.DeviceID {
	return signet.DeviceID(key.Sum(key.LabelDeviceID, []byte{byte(d.Class)}, d.Sign.Bytes(), d.Seal[:]))
}

// Append appends the encoding of d (spec/identity.md) to b.
func (d *Device) Append(b []byte) []byte {
	w := wire.Writer{B: b}
	w.U8(uint8(d.Class))
	w.U8(uint8(d.Where))
	w.I64(d.NotAfter)
	w.Raw(d.Sign.Bytes())
	if d.Class == Connector {
		w.Vec16(nil)
	} else {
		w.Vec16(d.Seal[:])
	}
	w.Raw(d.Profile[:])
	return w.B
}

// ParseDevice reads what Append wrote.
func ParseDevice(b []byte) (*Device, error) {
	r := wire.NewReader(b)
	d := readDevice(r)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("device record: %w", err)
	}
	return d, nil
}

func readDevice(r *wire.Reader) *Device {
	d := &Device{Class: Class(r.U8()), Where: Where(r.U8()), NotAfter: r.I64()}
	pub := r.Take(key.PublicSize)
	seal := r.Vec16(key.SealSize)
	r.Raw(d.Profile[:])
	if r.Err() != nil {
		return nil
	}
	if d.Class < Lasting || d.Class > Connector {
		r.Fail("unknown device class %d", d.Class)
	}
	if d.Where < InFile || d.Where > OnPaper {
		r.Fail("unknown place of keys %d", d.Where)
	}
	if d.NotAfter < 0 {
		r.Fail("device ends before 1970")
	}
	want := key.SealSize
	if d.Class == Connector {
		want = 0
	}
	if len(seal) != want {
		r.Fail("encryption key of %d bytes, want %d", len(seal), want)
	}
	copy(d.Seal[:], seal)
	var err error
	if d.Sign, err = key.ParsePublic(pub); err != nil {
		r.Fail("%v", err)
	}
	if r.Err() != nil {
		return nil
	}
	return d
}

// newcomerBody is what a device signs, in reverse, to join a ring: it shows
// that it holds the key, and which ring of which organisation it means.
func newcomerBody(org signet.OrgID, ring signet.RingID, record []byte) []byte {
	var w wire.Writer
	w.U8(key.Suite)
	w.Raw(org[:])
	w.Raw(ring[:])
	w.Vec16(record)
	return w.B
}

// SignNewcomer makes the reverse signature of d, whose private key s holds,
// for joining ring.
func SignNewcomer(s key.Signer, org signet.OrgID, ring signet.RingID, d *Device) ([]byte, error) {
	return s.Sign(key.LabelNewcomer, newcomerBody(org, ring, d.Append(nil)))
}

// VerifyNewcomer checks what SignNewcomer made.
func VerifyNewcomer(org signet.OrgID, ring signet.RingID, d *Device, sig []byte) error {
	return d.Sign.Verify(key.LabelNewcomer, newcomerBody(org, ring, d.Append(nil)), sig)
}
