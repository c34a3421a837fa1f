package linkv1

// KindOver is the kind of an Attach that ends the session with its id. The end
// of the session's own stream stands behind what the cluster has not read, for
// ever when it never does. Only a cluster that names it among its abilities is
// told.
const KindOver = "over"
