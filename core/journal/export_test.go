package journal

import "signet"

// What the tests of the encodings need and nobody else.
var (
	ParseFounding = parseFounding
	ParseNewKey   = parseNewKey

	ParseGrievance = parseGrievance
)

// SetRole gives a ring a role, or takes it away. No entry does so yet: what
// grants one comes with sharing, and what it means is tested before.
func (s *State) SetRole(r signet.RingID, role Role) {
	s.roles[r] = role
	if role == 0 {
		delete(s.roles, r)
	}
}

// EncodeHeader is the encoding of h.
func EncodeHeader(h *Header) []byte { return h.append(nil) }
