package journal

// What the tests of the encodings need and nobody else.
var (
	ParseFounding  = parseFounding
	ParseNewKey    = parseNewKey
	ParseGrievance = parseGrievance
	ParseRight     = parseRight
	ParseEnding    = parseEnding
	ParseLimit     = parseLimit
)

// EncodeHeader is the encoding of h.
func EncodeHeader(h *Header) []byte { return h.append(nil) }

// Granting says that grants have an effect: see granting.go.
const Granting = granting

// StretchesOf is Stretches with another bound.
var StretchesOf = stretches
