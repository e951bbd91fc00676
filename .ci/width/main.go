// Width prints the place of each line that has a comment and more than 100 columns. It looks at Go
// files, Lua files, scripts and files of settings, in the current folder and in all folders below
// it except .git. A tab counts as four columns. The exit status is 2 if a file cannot be read.
// Otherwise it is 1 if Width has printed a place.
package main

import (
	"bytes"
	"fmt"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

const most = 100

// signs maps extensions to the sign that begins a comment. A file whose name has no extension is
// listed with its whole name.
var signs = map[string]string{
	".lua":          "--",
	".toml":         "#",
	".yaml":         "#",
	".yml":          "#",
	".conf":         "#",
	".service":      "#",
	".example":      "#",
	".edge":         "#", // of Dockerfile.edge
	".relay":        "#", // of Dockerfile.relay
	".dockerignore": "#",
	".gitignore":    "#",
	"Caddyfile":     "#",
	"Makefile":      "#",
}

func main() {
	found := false
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if entry.Name() == ".git" {
				return filepath.SkipDir
			}
			return nil
		}
		lines, err := wide(path)
		for _, line := range lines {
			found = true
			fmt.Printf("%s:%d: a comment is wider than %d columns\n", path, line, most)
		}
		return err
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if found {
		os.Exit(1)
	}
}

// wide returns the numbers of the lines of a file that have a comment and more than 100 columns. It
// returns none if Width does not look at files of this kind.
func wide(path string) (lines []int, err error) {
	kind := filepath.Ext(path)
	if kind == "" {
		kind = filepath.Base(path)
	}
	sign, known := signs[kind]
	if !known && kind != ".go" && kind != filepath.Base(path) {
		return nil, nil
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text := strings.Split(string(src), "\n")
	var commented []int
	switch {
	case kind == ".go":
		commented = commentedGo(src)
	case known:
		commented = commentedBy(sign, text)
	case bytes.HasPrefix(src, []byte("#!")): // a script
		commented = commentedBy("#", text)
	}
	for _, line := range commented {
		if utf8.RuneCountInString(strings.ReplaceAll(text[line-1], "\t", "    ")) > most {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// commentedGo returns the numbers of the lines of Go code that have a comment. Directives, which
// begin with //go:, are not taken for comments.
func commentedGo(src []byte) (lines []int) {
	files := token.NewFileSet()
	file := files.AddFile("", -1, len(src))
	var s scanner.Scanner
	s.Init(file, src, nil, scanner.ScanComments)
	for {
		pos, kind, literal := s.Scan()
		if kind == token.EOF {
			return lines
		}
		if kind != token.COMMENT || strings.HasPrefix(literal, "//go:") {
			continue
		}
		first := file.Line(pos)
		for line := first; line <= first+strings.Count(literal, "\n"); line++ {
			lines = append(lines, line)
		}
	}
}

// commentedBy returns the numbers of the lines that have a comment which begins with sign. A sign
// is taken for the beginning of a comment if it is at the beginning of a line, or behind a space or
// a tab. That is so even in a string.
func commentedBy(sign string, text []string) (lines []int) {
	for i, line := range text {
		if strings.HasPrefix(line, sign) || strings.Contains(line, " "+sign) || strings.Contains(line, "\t"+sign) {
			lines = append(lines, i+1)
		}
	}
	return lines
}
