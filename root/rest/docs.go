package rest

import (
	_ "embed"
	"io"
	"io/fs"
	"net/http"
	"path"

	"github.com/gin-gonic/gin"
	swaggerfiles "github.com/swaggo/files/v2"
	ginswagger "github.com/swaggo/gin-swagger"
	"golang.org/x/net/webdav"
)

// document is the OpenAPI 2.0 document, made from the comments of the handlers
// (go generate).
//
//go:embed docs/swagger.json
var document []byte

const docsHome = "/api/docs/index.html"

// docsHandler serves the OpenAPI page. gin-swagger renders the page and its
// start script; the document and the assets come straight from what is
// compiled in, without a copy in memory (gin-swagger's own asset handler keeps
// all of them in one).
func docsHandler() gin.HandlerFunc {
	page := ginswagger.CustomWrapHandler(&ginswagger.Config{
		URL:                      "doc.json",
		Title:                    "Oakestra API",
		DocExpansion:             "list",
		DefaultModelsExpandDepth: 0,
		DeepLinking:              true,
		PersistAuthorization:     true,
	}, &webdav.Handler{}) // it wants to set a prefix there; nothing is served by it
	return func(c *gin.Context) {
		switch name := path.Base(c.Param("any")); name {
		case ".", "/", "docs":
			c.Redirect(http.StatusFound, docsHome)
		case "doc.json":
			c.Data(http.StatusOK, "application/json; charset=utf-8", document)
		case "index.html", "index.css", "swagger-initializer.js":
			c.Header("Content-Security-Policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; img-src 'self' data:")
			page(c)
		default:
			serveAsset(c, name)
		}
	}
}

// serveAsset sends one compiled-in file; the embedded file can seek, so
// ranges work and nothing is loaded.
func serveAsset(c *gin.Context, name string) {
	f, err := swaggerfiles.FS.Open(name)
	if err != nil {
		http.NotFound(c.Writer, c.Request)
		return
	}
	defer closeAsset(f)
	info, err := f.Stat()
	content, seeks := f.(io.ReadSeeker)
	if err != nil || !seeks || info.IsDir() {
		http.NotFound(c.Writer, c.Request)
		return
	}
	c.Header("Cache-Control", "public, max-age=86400")
	http.ServeContent(c.Writer, c.Request, name, info.ModTime(), content)
}

func closeAsset(f fs.File) { _ = f.Close() } // an embedded file cannot fail to close
