package import Values

/// `v1` or `apps/v1`.
package struct GroupVersion: Hashable, Sendable, CustomStringConvertible {
    /// Empty for the core group.
    package var group: String
    package var version: String

    package init(group: String, version: String) {
        self.group = group
        self.version = version
    }

    package init(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        self.init(group: parts.count > 1 ? String(parts[0]) : "", version: String(parts.last ?? ""))
    }

    package var description: String { group.isEmpty ? version : "\(group)/\(version)" }

    /// Where the server tells which kinds it has, and under which all their objects are.
    package var path: String {
        let version = PercentEncoding.encodeSegment(version)
        return group.isEmpty ? "/api/\(version)" : "/apis/\(PercentEncoding.encodeSegment(group))/\(version)"
    }
}

/// A kind of object as one server has it.
package struct APIResource: Hashable, Sendable {
    package var groupVersion: GroupVersion
    package var kind: String
    /// The name in paths and in rights: `services`.
    package var plural: String
    package var isNamespaced: Bool
    /// What can be done with it: `get`, `list`, `patch`, … Empty where that is not known.
    package var verbs: Set<String>

    package init(groupVersion: GroupVersion, kind: String, plural: String, isNamespaced: Bool, verbs: Set<String> = []) {
        self.groupVersion = groupVersion
        self.kind = kind
        self.plural = plural
        self.isNamespaced = isNamespaced
        self.verbs = verbs
    }

    /// `services`, `deployments.apps`: as errors and people call it.
    package var qualifiedName: String { groupVersion.group.isEmpty ? plural : "\(plural).\(groupVersion.group)" }

    /// The path of all objects, of those in a namespace, or of one.
    package func path(namespace: String?, name: String? = nil) -> String {
        var path = groupVersion.path
        if isNamespaced, let namespace { path += "/namespaces/\(PercentEncoding.encodeSegment(namespace))" }
        path += "/\(PercentEncoding.encodeSegment(plural))"
        if let name { path += "/\(PercentEncoding.encodeSegment(name))" }
        return path
    }

    /// Reads a discovery document (`/api/v1`, `/apis/apps/v1`).
    ///
    /// Subresources (`deployments/status`) have a slash in their name and are no kinds of their own, although some name one.
    package static func discovered(in document: Value, groupVersion: GroupVersion) -> [APIResource] {
        (document["resources"]?.arrayValue ?? []).compactMap { entry in
            guard let plural = entry["name"]?.stringValue, !plural.contains("/"), let kind = entry["kind"]?.stringValue else { return nil }
            return APIResource(
                groupVersion: groupVersion,
                kind: kind,
                plural: plural,
                isNamespaced: entry["namespaced"]?.boolValue ?? false,
                verbs: Set((entry["verbs"]?.arrayValue ?? []).compactMap(\.stringValue))
            )
        }
    }
}

extension APIRequest {
    /// The kinds of one group and version.
    package static func discover(_ groupVersion: GroupVersion) -> APIRequest { APIRequest(.get, groupVersion.path) }

    package static let version = APIRequest(.get, "/version")

    package static func get(_ resource: APIResource, namespace: String?, name: String) -> APIRequest {
        APIRequest(.get, resource.path(namespace: namespace, name: name))
    }

    /// One page of a list.
    ///
    /// - Parameter next: the `metadata.continue` of the page before. The server forgets it after some minutes and then answers 410.
    package static func list(_ resource: APIResource, namespace: String?, limit: Int, after next: String? = nil) -> APIRequest {
        var query = [QueryItem("limit", String(limit))]
        if let next { query.append(QueryItem("continue", next)) }
        return APIRequest(.get, resource.path(namespace: namespace), query: query)
    }

    /// Says what should be, under our name; makes the object where there is none, unless `body` carries a `metadata.uid`.
    ///
    /// - Parameter isForced: takes fields that others hold; without it a field that is held by somebody else with another value gives 409.
    package static func apply(_ path: String, body: Value, fieldManager: String, isForced: Bool, isDryRun: Bool = false) -> APIRequest {
        var query = [QueryItem("fieldManager", fieldManager)]
        if isForced { query.append(QueryItem("force", "true")) }
        // Servers before 1.23 don't know this and ignore it; from 1.25 on a misspelt field is an error, and no longer dropped.
        query.append(QueryItem("fieldValidation", "Strict"))
        if isDryRun { query.append(QueryItem("dryRun", "All")) }
        return APIRequest(.patch, path, query: query, contentType: ContentType.apply, body: body)
    }

    /// Replaces the members that `body` has and removes those that are null in it.
    package static func mergePatch(_ path: String, body: Value, fieldManager: String) -> APIRequest {
        APIRequest(.patch, path, query: [QueryItem("fieldManager", fieldManager)], contentType: ContentType.mergePatch, body: body)
    }

    /// Operations in the sense of RFC 6902; a `test` that fails refuses them all.
    package static func jsonPatch(_ path: String, operations: [Value], fieldManager: String) -> APIRequest {
        APIRequest(
            .patch,
            path,
            query: [QueryItem("fieldManager", fieldManager)],
            contentType: ContentType.jsonPatch,
            body: .array(operations)
        )
    }

    package static func create(_ resource: APIResource, namespace: String?, body: Value, fieldManager: String) -> APIRequest {
        APIRequest(
            .post,
            resource.path(namespace: namespace),
            query: [QueryItem("fieldManager", fieldManager), QueryItem("fieldValidation", "Strict")],
            contentType: ContentType.json,
            body: body
        )
    }

    /// Replaces an object as a whole. With a `metadata.resourceVersion` in `body` only the one that was read: 409 where it changed since.
    package static func replace(_ path: String, body: Value, fieldManager: String) -> APIRequest {
        APIRequest(.put, path, query: [QueryItem("fieldManager", fieldManager)], contentType: ContentType.json, body: body)
    }

    /// Deletes this very object: one that was made anew under the same name has another UID and stays.
    ///
    /// - Parameter resourceVersion: only as it was read, too.
    package static func delete(_ path: String, uid: String, resourceVersion: String? = nil) -> APIRequest {
        var options: Value = [
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", "preconditions": ["uid": .string(uid)],
        ]
        if let resourceVersion { options["preconditions"]?["resourceVersion"] = .string(resourceVersion) }
        return APIRequest(.delete, path, contentType: ContentType.json, body: options)
    }
}

/// What `/version` says: `1.20` or, with some distributions, `1.27+`.
package struct ServerVersion: Hashable, Sendable, Comparable, CustomStringConvertible {
    package var major: Int
    package var minor: Int
    /// `v1.30.4+k3s1`
    package var text: String

    package init?(_ document: Value) {
        func number(_ field: String) -> Int? { (document[field]?.stringValue?.prefix { $0.isNumber }).flatMap { Int($0) } }
        guard let major = number("major"), let minor = number("minor") else { return nil }
        self.major = major
        self.minor = minor
        text = document["gitVersion"]?.stringValue ?? "v\(major).\(minor)"
    }

    package var description: String { text }

    package static func < (a: Self, b: Self) -> Bool { (a.major, a.minor) < (b.major, b.minor) }
}
