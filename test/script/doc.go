// Package script tells what people do with Signet, and what they do wrong, as
// scripts over the two programs: testdata/*.txtar, named by what is told. They
// are tests, and they are the examples of the documentation.
//
// It promises that each script has a service and homes of its own, that no
// program of a script has a terminal unless the script gives it one, and that
// nothing that a script started outlives it.
package script
