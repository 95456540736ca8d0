// Package archtest holds the rules of the house as tests: which package may
// import which (imports_test.go), that every package says what it is for, that
// files stay short and are named after what is in them (files_test.go).
//
// The tests parse the module's sources in this process and never ask go list:
// the test cache only notices files that the test itself opens.
package archtest
