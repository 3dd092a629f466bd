package seal

// A browser reads what is compressed and compresses nothing: the encoder would
// be a tenth of the program that it loads.

func worthTrying([]byte) bool { return false }

func deflate(dst, piece []byte) []byte { return append(dst, piece...) }
