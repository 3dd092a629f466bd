package ignore

// A Preset is a set of rules that many want.
type Preset struct {
	Name     string
	Short    string
	Patterns []string
}

// Presets are those there are, by name.
var Presets = []Preset{
	{"build", "what a compiler or package manager makes anew", []string{
		"node_modules/", "target/", "build/", "__pycache__/", "*.pyc", "*.o", "*.obj", "*.class",
		".venv/", ".tox/", ".mypy_cache/", ".pytest_cache/", ".ruff_cache/", ".gradle/"}},
	{"git", "git's own folders: git fetch and push keep them in step", []string{".git/"}},
	{"sqlite", "databases that are open, with the files beside them", []string{
		"*.db", "*.db-wal", "*.db-shm", "*.db-journal",
		"*.sqlite", "*.sqlite-wal", "*.sqlite-shm", "*.sqlite-journal",
		"*.sqlite3", "*.sqlite3-wal", "*.sqlite3-shm", "*.sqlite3-journal"}},
	{"system", "what editors and file managers leave behind", []string{
		".DS_Store", "._*", "Thumbs.db", "desktop.ini", "*~", ".*.sw[a-p]", "~$*", ".~lock.*#"}},
}
