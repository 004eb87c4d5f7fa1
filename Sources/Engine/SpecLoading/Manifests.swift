import PathPatterns
import ResourceModel
import Values
import YAML

extension Loader {
    /// Gives every native manifest its cluster and its address.
    mutating func placeManifests() {
        guard let first = manifestDocuments.first else { return }
        if clusters.isEmpty, !targetDocuments.contains(where: { $0.kind == "Cluster" }) {
            report(
                "there is a manifest (\(first.kind)) and no Cluster to apply it to",
                at: first.node.position,
                fix: "Declare one: {apiVersion: plumb/v1, kind: Cluster, metadata: {name: home}, spec: {context: CONTEXT}}."
            )
            return
        }
        let claims = clusters.map { (name: $0.name, patterns: $0.manifests.isEmpty ? nil : PathPatterns(lines: $0.manifests)) }
        var read: [(Document, Value)] = []
        for document in manifestDocuments {
            var errors: [YAMLError] = []
            let value = document.node.value(errors: &errors)
            for error in errors { report(error.message, at: error.position, fix: error.fix) }
            if errors.isEmpty { read.append((document, value)) }
        }
        let scopes = Self.declaredScopes(read.map(\.1))
        for (document, value) in read { place(document, value, scopes: scopes, claims: claims) }
    }

    private mutating func place(
        _ document: Document,
        _ value: Value,
        scopes: [String: Bool],
        claims: [(name: String, patterns: PathPatterns?)]
    ) {
        guard isGroupVersion(document.apiVersion), isKind(document.kind) else {
            report("'\(document.apiVersion)' '\(document.kind)' can't be an apiVersion and a kind", at: document.node.position)
            return
        }
        guard let metadata = value["metadata"], metadata.objectValue != nil else {
            report("missing field 'metadata'", at: document.node.position)
            return
        }
        let metadataNode = document.node["metadata"] ?? document.node
        guard let name = metadata["name"]?.stringValue, isPathSegment(name) else {
            if metadata["generateName"] != nil {
                report(
                    "'generateName' would make another object every time",
                    at: metadataNode["generateName"]?.position ?? metadataNode.position,
                    fix: "Give the object a name."
                )
            } else {
                report("'metadata.name' must be an object's name", at: metadataNode["name"]?.position ?? metadataNode.position, fix: Self.quoteIt)
            }
            return
        }
        var fields = value
        var instructions = DesiredResource.Instructions()
        let annotations = readAnnotations(&fields, node: metadataNode, instructions: &instructions)
        for field in ["status"] where fields[field] != nil {
            fields[field] = nil
            notes.append("\(document.node[field]?.position ?? document.node.position): '\(field)' is the server's to write and is not sent")
        }
        for field in ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"] where metadata[field] != nil {
            fields["metadata"]?[field] = nil
            notes.append("\(metadataNode[field]?.position ?? metadataNode.position): 'metadata.\(field)' is the server's to write and is not sent")
        }
        guard let target = chooseCluster(document, named: annotations.cluster, claims: claims) else { return }

        let group = document.apiVersion.contains("/") ? String(document.apiVersion.prefix { $0 != "/" }) : ""
        var namespace: String?
        if let given = metadata["namespace"] {
            guard let text = given.stringValue, isPathSegment(text) else {
                let place = metadataNode["namespace"]?.position ?? metadataNode.position
                report("'metadata.namespace' must be a namespace's name", at: place, fix: Self.quoteIt)
                return
            }
            namespace = text
        }
        if scopes["\(group)/\(document.kind)"] ?? !Scope.isClusterWide(group: group, kind: document.kind) {
            namespace = namespace ?? "default"
            fields["metadata"]?["namespace"] = namespace.map(Value.string)
        } else if namespace != nil {
            report(
                "a \(document.kind) is in no namespace",
                at: metadataNode["namespace"]?.position ?? metadataNode.position,
                fix: "Leave 'namespace' out."
            )
            return
        }
        if group.isEmpty, document.kind == "Secret" { Self.hideSecrets(&fields) }

        let place = [namespace, name].compactMap(\.self).joined(separator: "/")
        let resource = DesiredResource(
            kind: document.kind,
            handler: Self.manifestHandler,
            address: ResourceAddress(target: target, resource: "\(document.apiVersion)/\(document.kind)/\(place)"),
            fields: fields,
            instructions: instructions,
            origins: [document.node.position]
        )
        // The version is no part of what an object is.
        let key = "\(target)/\(group)/\(document.kind)/\(place)"
        guard add(resource, key: key, at: metadataNode["name"]?.position ?? document.node.position) else { return }
        documents.append(
            DocumentRecord(
                name: resource.address.resource,
                isHostSpec: false,
                position: document.node.position,
                resources: [key],
                dependsOn: annotations.dependsOn
            )
        )
    }

    private mutating func add(_ resource: DesiredResource, key: String, at position: SourcePosition) -> Bool {
        guard var pending = resources[key] else {
            resources[key] = PendingResource(resource: resource, places: [:])
            return true
        }
        let first = pending.resource.origins.first ?? position
        guard pending.resource.instructions.managesFieldsOnly, resource.instructions.managesFieldsOnly else {
            report("\(resource.address) is declared twice", at: position, fix: "It stands at \(first) already; keep one of the two.")
            return false
        }
        var conflicts: [String] = []
        pending.resource.fields = merge(pending.resource.fields, resource.fields, path: "", conflicts: &conflicts)
        for path in conflicts {
            report("'\(path)' of \(resource.address) is declared twice with different values", at: position, fix: "The other one is at \(first).")
        }
        pending.resource.origins += resource.origins
        pending.resource.instructions.addBrakes(of: resource.instructions)
        resources[key] = pending
        return true
    }

    private static let quoteIt = "Quote it: numbers, and y, n, yes, no, on and off, are no texts unless quoted."

    private struct ReadAnnotations {
        var cluster: (name: String, position: SourcePosition)?
        var dependsOn: [(name: String, position: SourcePosition)] = []
    }

    /// Takes `plumb/*` annotations out of what is sent.
    private mutating func readAnnotations(
        _ fields: inout Value,
        node: YAMLNode,
        instructions: inout DesiredResource.Instructions
    ) -> ReadAnnotations {
        var result = ReadAnnotations()
        guard let annotations = fields["metadata"]?["annotations"]?.objectValue else { return result }
        var kept = annotations
        for (key, value) in annotations.sorted(by: { $0.key < $1.key }) where key.hasPrefix("plumb/") {
            kept[key] = nil
            let entry = node["annotations"]?.entries?.first { $0.key.scalar?.text == key }
            let position = entry?.value.position ?? node.position
            let text = entry?.value.scalar?.text ?? value.description
            switch (key, text) {
            case ("plumb/manage", "fields"): instructions.managesFieldsOnly = true
            case ("plumb/take-over", "true"): instructions.takesOver = true
            case ("plumb/take-over", "false"): break
            case ("plumb/prune", "keep"): instructions.keepsWhenUndeclared = true
            case ("plumb/cluster", _): result.cluster = (text, position)
            case ("plumb/depends-on", _): result.dependsOn = Self.dependencies(text, at: position)
            case ("plumb/pause", _):
                instructions.pause = value.stringValue.flatMap { Brakes.pause($0, .all, at: position) }
                if instructions.pause == nil { report("'plumb/pause' gives no reason", at: position, fix: Brakes.pauseFix) }
            case ("plumb/settle", _):
                instructions.settle = Brakes.settle(text)
                if instructions.settle == nil { report("'plumb/settle' can't be '\(text)'", at: position, fix: Brakes.settleFix) }
            case ("plumb/manage", _), ("plumb/take-over", _), ("plumb/prune", _):
                let fix = ["plumb/manage": "It is: fields.", "plumb/take-over": "It is: \"true\".", "plumb/prune": "It is: keep."][key] ?? ""
                report("'\(key)' can't be '\(text)'", at: position, fix: fix)
            default:
                let known = [
                    "plumb/cluster", "plumb/depends-on", "plumb/manage", "plumb/pause", "plumb/prune", "plumb/settle", "plumb/take-over",
                ]
                let nearest = Diagnostic.nearest(to: key, among: known).map { "Did you mean '\($0)'? " } ?? ""
                let place = entry?.key.position ?? position
                report("unknown annotation '\(key)'", at: place, fix: "\(nearest)Here there are: \(known.joined(separator: ", ")).")
            }
        }
        fields["metadata"]?["annotations"] = kept.isEmpty ? nil : .object(kept)
        return result
    }

    private mutating func chooseCluster(
        _ document: Document,
        named: (name: String, position: SourcePosition)?,
        claims: [(name: String, patterns: PathPatterns?)]
    ) -> String? {
        if let named {
            if clusters.contains(where: { $0.name == named.name }) { return named.name }
            guard targetsAreKnown else { return nil }
            let nearest = Diagnostic.nearest(to: named.name, among: clusters.map(\.name)).map { "Did you mean '\($0)'?" }
            report("unknown cluster '\(named.name)'", at: named.position, fix: nearest ?? "Declare it as a Cluster.")
            return nil
        }
        let claiming = claims.filter { $0.patterns?.matches(document.relativePath) ?? false }
        let open = claiming.isEmpty ? claims.filter { $0.patterns == nil } : claiming
        if open.count == 1 { return open.first?.name }
        if open.isEmpty, !targetsAreKnown { return nil }
        let names = open.map { "'\($0.name)'" }.joined(separator: ", ")
        report(
            open.isEmpty ? "no Cluster claims this manifest" : "this manifest could be for \(names)",
            at: document.node.position,
            fix: "Name its cluster in the annotation plumb/cluster, or let 'manifests' patterns of one Cluster match '\(document.relativePath)'."
        )
        return nil
    }

    /// Of the kinds whose definitions are among the specs: true where they live in namespaces.
    private static func declaredScopes(_ manifests: [Value]) -> [String: Bool] {
        var scopes: [String: Bool] = [:]
        for manifest in manifests where manifest["kind"] == "CustomResourceDefinition" {
            guard let group = manifest[path: "spec", "group"]?.stringValue, let kind = manifest[path: "spec", "names", "kind"]?.stringValue else {
                continue
            }
            scopes["\(group)/\(kind)"] = manifest[path: "spec", "scope"] != "Cluster"
        }
        return scopes
    }

    private static func hideSecrets(_ fields: inout Value) {
        for field in ["data", "stringData"] {
            guard let value = fields[field], value != .null else { continue }
            fields[field] = value.objectValue.map { .object($0.mapValues { .sensitive(SensitiveValue($0)) }) } ?? .sensitive(SensitiveValue(value))
        }
    }

    private func isGroupVersion(_ text: String) -> Bool {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        return (1...2).contains(parts.count) && parts.allSatisfy { Names.isDNS1123(String($0)) }
    }

    private func isKind(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= 63 && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber) }
    }

    private func isPathSegment(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= 253 && text != "." && text != ".."
            && text.unicodeScalars.allSatisfy { $0.isASCII && $0.value > 0x20 && $0.value != 0x7F && $0 != "/" && $0 != "%" }
    }
}

/// Which kinds of the Kubernetes project live outside namespaces. All others are taken to live in one, unless their definition is among the
/// specs; the server's own answer decides in the end where the request goes.
private enum Scope {
    static func isClusterWide(group: String, kind: String) -> Bool {
        switch group {
        case "": ["Namespace", "Node", "PersistentVolume", "ComponentStatus"].contains(kind)
        case "rbac.authorization.k8s.io": ["ClusterRole", "ClusterRoleBinding"].contains(kind)
        case "apiextensions.k8s.io", "apiregistration.k8s.io", "admissionregistration.k8s.io", "scheduling.k8s.io", "node.k8s.io",
            "flowcontrol.apiserver.k8s.io":
            true
        case "storage.k8s.io": kind != "CSIStorageCapacity"
        case "networking.k8s.io": ["IngressClass", "IPAddress", "ServiceCIDR"].contains(kind)
        case "certificates.k8s.io": ["CertificateSigningRequest", "ClusterTrustBundle"].contains(kind)
        case "policy": kind == "PodSecurityPolicy"
        case "resource.k8s.io": ["DeviceClass", "ResourceSlice"].contains(kind)
        default: false
        }
    }
}
