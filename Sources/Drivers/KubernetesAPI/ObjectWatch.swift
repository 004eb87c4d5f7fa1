package import Values

/// What is watched: all objects of a kind, those in one namespace, or a single one.
package struct ObjectWatch: Hashable, Sendable {
    package var api: APIResource
    /// nil: all namespaces, or the kind lives in none.
    package var namespace: String?
    package var name: String?

    package init(_ api: APIResource, namespace: String? = nil, name: String? = nil) {
        self.api = api
        // What can be done with a kind does not make another watch.
        self.api.verbs = []
        self.namespace = namespace
        self.name = name
    }

    /// `services default/kubernetes`, `deployments.apps in web`: as messages name it.
    package var words: String {
        if let name { return "\(api.qualifiedName) \([namespace, name].compactMap(\.self).joined(separator: "/"))" }
        return namespace.map { "\(api.qualifiedName) in \($0)" } ?? api.qualifiedName
    }

    /// One page of what is there.
    package func list(limit: Int, after next: String? = nil) -> APIRequest {
        var request = APIRequest.list(api, namespace: namespace, limit: limit, after: next)
        request.query += selector
        return request
    }

    /// Everything that happens from this version on.
    ///
    /// - Parameter lifetime: after how many seconds the server ends it.
    package func request(from version: String, lifetime: Int) -> APIRequest {
        APIRequest(
            .get,
            api.path(namespace: namespace),
            query: [
                .init("watch", "true"), .init("resourceVersion", version), .init("allowWatchBookmarks", "true"),
                .init("timeoutSeconds", String(lifetime)),
            ] + selector
        )
    }

    /// Selecting by name is what a right for a single name (`resourceNames`) allows.
    private var selector: [APIRequest.QueryItem] {
        guard let name else { return [] }
        let escaped = name.map { "\\,=".contains($0) ? "\\\($0)" : "\($0)" }.joined()
        return [.init("fieldSelector", "metadata.name=\(escaped)")]
    }
}

/// What a watch brings, in the order in which it happened.
package enum WatchEvent: Hashable, Sendable {
    /// All that is there. What was known and is not among it was deleted while nobody watched.
    case listed([Value])
    /// Made or changed: the object as it is now.
    case changed(Value)
    /// The object as it was last.
    case deleted(Value)
    /// The watch had to be taken up again, and why. Nothing was missed: it goes on where it was, or with a list.
    case restarted(String)
}
