package promginsse_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/promginsse"
)

// Each constant of the root module whose type is that of a label is a value of the label.
func TestLabelsHaveEveryValueOfTheRoot(t *testing.T) {
	t.Parallel()
	constants := make(map[string][]string)
	for _, pattern := range []string{"../*.go", "../eventlog/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				addConstants(t, file, constants)
			}
		}
	}
	for kind, known := range promginsse.KnownLabels() {
		if len(constants[kind]) < 3 {
			t.Errorf("the test finds %q of the type %s", constants[kind], kind)
		}
		for _, value := range constants[kind] {
			if !slices.Contains(known, value) {
				t.Errorf("%q is a %s, and no value of a label", value, kind)
			}
		}
	}
}

// addConstants adds the texts of the constants in a file, by the name of their type.
func addConstants(t *testing.T, file string, to map[string][]string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Type == nil || len(spec.Values) != 1 {
			return true
		}
		name := ""
		switch kind := spec.Type.(type) {
		case *ast.Ident:
			name = kind.Name
		case *ast.SelectorExpr:
			name = kind.Sel.Name
		}
		if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			to[name] = append(to[name], text)
		}
		return true
	})
}
