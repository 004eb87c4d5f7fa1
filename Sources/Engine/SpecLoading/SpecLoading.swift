package import ResourceModel
import Values
import YAML

/// One file of specs.
package struct SpecFile: Sendable {
    /// For messages: as the person who named the source would type it.
    package var path: String
    /// From the source's root; what `manifests:` patterns are matched with.
    package var relativePath: String
    package var bytes: [UInt8]

    package init(path: String, relativePath: String, bytes: [UInt8]) {
        self.path = path
        self.relativePath = relativePath
        self.bytes = bytes
    }
}

package struct LoadOptions: Sendable {
    /// Hash of all files, for the plan's ID.
    package var contentHash: String
    /// `--context` was given or we run in a pod: a Cluster need not name a context.
    package var contextIsGiven: Bool
    /// How many resources the specs may come to, all hosts taken together: a few lines can select many hosts for many settings.
    package var maxResources = 1_000_000

    package init(contentHash: String, contextIsGiven: Bool = false) {
        self.contentHash = contentHash
        self.contextIsGiven = contextIsGiven
    }
}

/// All mistakes of a revision, in the order of files and lines.
package struct SpecMistakes: Error, Sendable {
    package var diagnostics: [Diagnostic]
}

/// Turns the files of a revision into what they ask for.
///
/// - Throws: every mistake there is, not only the first; a revision with a mistake has no desired state.
package func loadSpecs(_ files: [SpecFile], kinds: [RegisteredKind], options: LoadOptions) throws(SpecMistakes) -> DesiredState {
    var loader = Loader(kinds: kinds, options: options)
    for file in files { loader.read(file) }
    loader.declareTargets()
    loader.expandSettings()
    loader.placeManifests()
    loader.resolveDependencies()
    guard loader.diagnostics.isEmpty else {
        let order = Dictionary(files.enumerated().map { ($1.path, $0) }) { first, _ in first }
        let sorted = loader.diagnostics.sorted { a, b in
            (order[a.position.file] ?? 0, a.position.line, a.position.column, a.message) < (
                order[b.position.file] ?? 0, b.position.line, b.position.column, b.message
            )
        }
        throw SpecMistakes(diagnostics: sorted)
    }
    return loader.desiredState()
}

/// What has been gathered so far. Each stage is an extension in a file of its own.
struct Loader {
    let kinds: [String: RegisteredKind]
    let options: LoadOptions
    var diagnostics: [Diagnostic] = []
    var notes: [String] = []

    var targetDocuments: [Document] = []
    var settingDocuments: [Document] = []
    var manifestDocuments: [Document] = []

    var hosts: [Host] = []
    var clusters: [Cluster] = []
    var pauses: [Pause] = []
    /// False where a mistake may have cost us a host or a cluster: then "unknown host" would only repeat it.
    var targetsAreKnown = true
    var targetPositions: [String: SourcePosition] = [:]
    /// By target and key.
    var resources: [String: PendingResource] = [:]
    var documents: [DocumentRecord] = []
    /// Dependencies between resources so far.
    var connections = 0

    init(kinds: [RegisteredKind], options: LoadOptions) {
        // Native manifests are not written as `kind: KubernetesObject`.
        self.kinds = Dictionary(kinds.filter { $0.name != Self.manifestHandler }.map { ($0.name, $0) }) { first, _ in first }
        self.options = options
    }

    static let manifestHandler = "KubernetesObject"

    mutating func report(_ message: String, at position: SourcePosition, fix: String = "") {
        diagnostics.append(Diagnostic(message, at: position, fix: fix))
    }

    func desiredState() -> DesiredState {
        let targets = (hosts.map(Target.host) + clusters.map(Target.cluster)).sorted { $0.name < $1.name }
        var desired = DesiredState(
            targets: targets,
            // What a chain's spec asks of each family has one address, so the key decides.
            resources: resources.map { key, pending in
                var resource = pending.resource
                resource.key = key
                return resource
            }
            .sorted { ($0.address, $0.key) < ($1.address, $1.key) },
            contentHash: options.contentHash,
            notes: notes
        )
        desired.pauses = pauses
        return desired
    }
}

/// A resource while specs that meet there are still being added.
struct PendingResource {
    var resource: DesiredResource
    /// Where each field was declared first.
    var places: [String: SourcePosition]
}

/// What became of a document that can be depended on.
struct DocumentRecord {
    /// `NetworkInterface/promiscuous`, or for a manifest its address without the target.
    var name: String
    var isHostSpec: Bool
    var position: SourcePosition
    /// The keys in `Loader.resources`.
    var resources: [String]
    var dependsOn: [(name: String, position: SourcePosition)]
}

/// One YAML document that says what it is.
struct Document {
    var apiVersion: String
    var kind: String
    var node: YAMLNode
    var relativePath: String
}

extension Loader {
    mutating func read(_ file: SpecFile) {
        let parsed = parseYAML(file.bytes, file: file.path)
        for document in parsed.documents { read(document, relativePath: file.relativePath) }
        if let error = parsed.error { report(error.message, at: error.position, fix: error.fix) }
    }

    private mutating func read(_ node: YAMLNode, relativePath: String) {
        guard let entries = node.entries else {
            report("a document must be a mapping with apiVersion and kind", at: node.position, fix: "List files that are no specs in .plumbignore.")
            return
        }
        if let sops = entries.first(where: { $0.key.scalar?.text == "sops" }) {
            report(
                "this document is encrypted with sops, which Plumb does not decrypt",
                at: sops.key.position,
                fix: "List it in .plumbignore and let what holds the key apply it."
            )
            return
        }
        var isComplete = true
        for field in ["apiVersion", "kind"] {
            let value = node[field]
            if let text = value?.scalar?.text, !text.isEmpty { continue }
            isComplete = false
            let nearest = Diagnostic.nearest(to: field, among: entries.compactMap { $0.key.scalar?.text })
            let fix = value != nil ? "" : nearest.map { "Is '\($0)' a slip?" } ?? "List files that are no specs in .plumbignore."
            report(value == nil ? "missing field '\(field)'" : "'\(field)' must be a text", at: value?.position ?? node.position, fix: fix)
        }
        guard isComplete, let apiVersion = node["apiVersion"]?.scalar?.text, let kind = node["kind"]?.scalar?.text else { return }

        if apiVersion == "v1", kind == "List" {
            guard let items = node["items"]?.elements else {
                report("a List needs 'items', a list of documents", at: node.position)
                return
            }
            for item in items { read(item, relativePath: relativePath) }
            return
        }
        let document = Document(apiVersion: apiVersion, kind: kind, node: node, relativePath: relativePath)
        if apiVersion == "plumb" || apiVersion.hasPrefix("plumb/") {
            readOwn(document)
        } else {
            manifestDocuments.append(document)
        }
    }

    private mutating func readOwn(_ document: Document) {
        guard document.apiVersion == "plumb/v1" else {
            report(
                "unknown apiVersion '\(document.apiVersion)'",
                at: document.node["apiVersion"]?.position ?? document.node.position,
                fix: "This Plumb reads plumb/v1."
            )
            return
        }
        switch document.kind {
        case "Host", "HostList", "Cluster": targetDocuments.append(document)
        case _ where kinds[document.kind] != nil: settingDocuments.append(document)
        default:
            let known = ["Cluster", "Host", "HostList"] + kinds.keys
            let suggestion = Diagnostic.nearest(to: document.kind, among: known).map { "Did you mean '\($0)'? " } ?? ""
            report(
                "unknown kind '\(document.kind)'",
                at: document.node["kind"]?.position ?? document.node.position,
                fix: "\(suggestion)plumb/v1 has: \(known.sorted().joined(separator: ", "))."
            )
        }
    }
}
