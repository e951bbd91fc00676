// Width prints the place of each line that has a comment and more than 100 columns, in the Go files
// of the current folder and of all folders below it. A tab counts as four columns. Directives,
// which begin with //go:, are not taken for comments. The exit status is 2 if a file cannot be
// read. Otherwise it is 1 if Width has printed a place.
package main

import (
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

func main() {
	found := false
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, line := range wide(path, src) {
			found = true
			fmt.Printf("%s:%d: a comment is wider than %d columns\n", path, line, most)
		}
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if found {
		os.Exit(1)
	}
}

// wide returns the numbers of the lines of src that have a comment and more than 100 columns.
func wide(path string, src []byte) (lines []int) {
	text := strings.Split(string(src), "\n")
	files := token.NewFileSet()
	file := files.AddFile(path, -1, len(src))
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
			if utf8.RuneCountInString(strings.ReplaceAll(text[line-1], "\t", "    ")) > most {
				lines = append(lines, line)
			}
		}
	}
}
