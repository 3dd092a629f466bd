package key

import "sort"

// A Label says what a signature, a key or a hash is for. Every use of a key
// has its own, so that bytes made for one use are nothing for another. Labels
// are unique and none is a prefix of another (spec/encoding.md has the same
// table; a test compares them).
type Label string

// Labels that sign. Those of statements, authority entries, full
// checkpoints and exports want both signatures; the rest Ed25519 alone.
const (
	LabelStatement    Label = "signet/v1/statement"       // both: a ring's statement, by a device of the ring
	LabelNewcomer     Label = "signet/v1/newcomer"        // both: reverse signature of a device that is being added
	LabelClaim        Label = "signet/v1/claim"           // both: a genesis, by the invitation that it redeems
	LabelAdmit        Label = "signet/v1/admit"           // both: an invitation, by an officer or connector
	LabelAuthority    Label = "signet/v1/authority-entry" // both
	LabelFull         Label = "signet/v1/full-checkpoint" // both: by the service's log key
	LabelEntry        Label = "signet/v1/content-entry"   // Ed25519
	LabelTip          Label = "signet/v1/tip-checkpoint"  // Ed25519: by the service's log key
	LabelConnection   Label = "signet/v1/connection"      // Ed25519: a device opens a connection
	LabelRecord       Label = "signet/v1/sealed-record"   // Ed25519: a device's name or a member's profile
	LabelMarkerVolume Label = "signet/v1/volume-root"     // Ed25519: the marker in a volume's hidden folder
	LabelHello        Label = "signet/v1/link-hello"      // Ed25519: a newcomer's first message when linking
	LabelExport       Label = "signet/v1/export"          // both: the manifest of an export

	// Reserved: what signs under them comes later.
	LabelRewind  Label = "signet/v1/rewind"
	LabelWipe    Label = "signet/v1/wipe"
	LabelHold    Label = "signet/v1/hold"
	LabelPolicy  Label = "signet/v1/policy"
	LabelReplica Label = "signet/v1/replica"
	LabelAudit   Label = "signet/v1/audit"
	LabelAnchor  Label = "signet/v1/anchor"
	LabelParcel  Label = "signet/v1/parcel"
	LabelRelease Label = "signet/v1/release"
)

// Labels that hash, derive or seal.
const (
	LabelDeviceID       Label = "signet/v1/device-id"
	LabelStatementHash  Label = "signet/v1/hash/statement"
	LabelEntryHash      Label = "signet/v1/hash/entry"
	LabelRevisionHash   Label = "signet/v1/hash/revision"
	LabelProfile        Label = "signet/v1/hash/profile"
	LabelBlob           Label = "signet/v1/hash/blob"
	LabelCheckpointHash Label = "signet/v1/hash/checkpoint"
	LabelLogKeys        Label = "signet/v1/hash/log-keys"
	LabelBootstrap      Label = "signet/v1/hash/bootstrap"
	LabelNode           Label = "signet/v1/hash/conflict-node"
	LabelFile           Label = "signet/v1/hash/file"        // the list of a long file's parts
	LabelWords          Label = "signet/v1/hash/words"       // the check word of secrets that people type
	LabelLinkCommit     Label = "signet/v1/hash/link-commit" // a newcomer's commitment when linking
	LabelLinkTranscript Label = "signet/v1/hash/link-transcript"

	LabelSeedNext     Label = "signet/v1/derive/next-seed"  // a new generation's seed
	LabelSeedKEM      Label = "signet/v1/derive/kem"        // the HPKE pair of a generation
	LabelSeedBack     Label = "signet/v1/derive/back-link"  // seals the previous seed
	LabelSeedOps      Label = "signet/v1/derive/operations" // seals operations blobs
	LabelSeedRecord   Label = "signet/v1/derive/record"     // seals names and profiles
	LabelGlimpse      Label = "signet/v1/derive/glimpse"    // seals what is shown of a file that is still being sent
	LabelRingSecret   Label = "signet/v1/derive/ring-secret"
	LabelRegionSecret Label = "signet/v1/derive/region-secret"
	LabelRegionClaim  Label = "signet/v1/derive/region-claim" // HMAC(ring secret, name, count)
	LabelPlaintextID  Label = "signet/v1/derive/plaintext-id"
	LabelRolling      Label = "signet/v1/derive/rolling-sum"
	LabelDigest       Label = "signet/v1/derive/state-digest"
	LabelPage         Label = "signet/v1/derive/page" // which page of a digest a node is on
	LabelSecretCommit Label = "signet/v1/derive/secret-commitment"
	LabelChunk        Label = "signet/v1/derive/chunk-key" // a chunk's AES key
	LabelChunkCommit  Label = "signet/v1/derive/chunk-commitment"
	LabelEnvelope     Label = "signet/v1/envelope"            // HPKE info of every envelope
	LabelLink         Label = "signet/v1/derive/link-channel" // keys of the linking channel
	LabelLinkCode     Label = "signet/v1/derive/link-code"    // the six digits
	LabelLinkPlace    Label = "signet/v1/derive/link-place"   // where on the service the two meet
	LabelRecovery     Label = "signet/v1/derive/recovery"
	LabelInvite       Label = "signet/v1/derive/invitation"
	LabelSigningSeed  Label = "signet/v1/derive/signing-seeds"
	LabelKeyFile      Label = "signet/v1/derive/key-file"
)

// both lists the signing labels that want Ed25519 and ML-DSA-65.
var both = map[Label]bool{
	LabelStatement: true, LabelNewcomer: true, LabelClaim: true, LabelAdmit: true,
	LabelAuthority: true, LabelFull: true, LabelExport: true, LabelRewind: true, LabelWipe: true,
	LabelHold: true, LabelPolicy: true, LabelReplica: true, LabelAnchor: true, LabelRelease: true,
}

var all = []Label{
	LabelStatement, LabelNewcomer, LabelClaim, LabelAdmit, LabelAuthority, LabelFull, LabelEntry, LabelTip,
	LabelConnection, LabelRecord, LabelMarkerVolume, LabelHello, LabelExport, LabelRewind, LabelWipe, LabelHold, LabelPolicy,
	LabelReplica, LabelAudit, LabelAnchor, LabelParcel, LabelRelease,
	LabelDeviceID, LabelStatementHash, LabelEntryHash, LabelRevisionHash, LabelProfile, LabelBlob,
	LabelCheckpointHash, LabelLogKeys, LabelBootstrap, LabelNode,
	LabelFile, LabelWords, LabelLinkCommit, LabelLinkTranscript,
	LabelSeedNext, LabelSeedKEM, LabelSeedBack, LabelSeedOps, LabelSeedRecord, LabelGlimpse, LabelRingSecret, LabelRegionSecret,
	LabelRegionClaim, LabelPlaintextID, LabelRolling, LabelDigest, LabelPage, LabelSecretCommit, LabelChunk,
	LabelChunkCommit, LabelEnvelope, LabelLink, LabelLinkCode, LabelLinkPlace, LabelRecovery, LabelInvite,
	LabelSigningSeed, LabelKeyFile,
}

// Labels returns every label, sorted.
func Labels() []Label {
	l := append([]Label(nil), all...)
	sort.Slice(l, func(i, j int) bool { return l[i] < l[j] })
	return l
}

// Both reports whether signatures under l are Ed25519 and ML-DSA-65 together.
func (l Label) Both() bool { return both[l] }
