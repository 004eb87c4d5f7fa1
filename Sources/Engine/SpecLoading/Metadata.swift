import ResourceModel
import YAML

/// What stands under `metadata:` of a plumb/v1 document.
struct Metadata {
    var name: String?
    var namePosition: SourcePosition
    var labels: [String: String] = [:]
    var dependsOn: [(name: String, position: SourcePosition)] = []
    var instructions = DesiredResource.Instructions()
    var settlePosition: SourcePosition?
}

enum Names {
    /// Lower-case letters, digits, `-` and `.`, up to 253, beginning and ending with a letter or digit.
    static func isDNS1123(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard (1...253).contains(bytes.count), let first = bytes.first, let last = bytes.last, isLowerAlphanumeric(first), isLowerAlphanumeric(last)
        else { return false }
        return bytes.allSatisfy { isLowerAlphanumeric($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".") } && !text.contains("..")
    }

    static let rule = "Names are lower-case letters, digits, '-' and '.', and begin and end with a letter or digit."

    /// What may stand in an SSH address or login name: `^[A-Za-z0-9][A-Za-z0-9._:-]*$`.
    static func isAddress(_ text: String) -> Bool {
        guard let first = text.utf8.first, isAlphanumeric(first), text.utf8.count <= 253 else { return false }
        return text.utf8.allSatisfy { isAlphanumeric($0) || "._:-".utf8.contains($0) }
    }

    private static func isLowerAlphanumeric(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        isLowerAlphanumeric(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
    }
}

extension Loader {
    /// Reads the envelope of a plumb/v1 document and hands its `spec` to `body`.
    mutating func decodeEnvelope(_ document: Document, body: (inout Loader, Metadata, inout SpecDecoder) -> Void) {
        var decoder = SpecDecoder(document.node)
        _ = decoder.string("apiVersion")
        _ = decoder.string("kind")
        var metadata = Metadata(namePosition: document.node.position)
        if decoder.require("metadata") != nil {
            let read = SpecDecoder(document.node["metadata"] ?? document.node, path: "metadata")
            metadata = decodeMetadata(read)
        }
        if let spec = decoder.require("spec") {
            var inner = SpecDecoder(spec)
            body(&self, metadata, &inner)
            diagnostics += inner.finish()
        }
        diagnostics += decoder.finish()
    }

    private mutating func decodeMetadata(_ decoder: SpecDecoder) -> Metadata {
        var decoder = decoder
        var metadata = Metadata(namePosition: decoder.position)
        if let node = decoder.require("name") {
            metadata.namePosition = node.position
            if let name = node.scalar?.text, Names.isDNS1123(name) {
                metadata.name = name
            } else {
                decoder.report("'\(node.scalar?.text ?? "")' can't be a name", at: node.position, fix: Names.rule)
            }
        }
        metadata.labels = decoder.nested("labels") { Self.decodeLabels(&$0) } ?? [:]
        let annotations = decoder.nested("annotations") { $0.takeRest() } ?? []
        for annotation in annotations {
            let text = annotation.value.scalar?.text ?? ""
            switch annotation.key {
            case "plumb/depends-on":
                metadata.dependsOn = Self.dependencies(text, at: annotation.value.position)
            case "plumb/prune" where text == "keep":
                metadata.instructions.keepsWhenUndeclared = true
            case "plumb/prune":
                decoder.report("'plumb/prune' can't be '\(text)'", at: annotation.value.position, fix: "It is: keep.")
            case "plumb/pause":
                // Which addresses come of the document is known later; what is paused with it carries it.
                metadata.instructions.pause = Brakes.pause(annotation.value, .all, at: annotation.value.position)
                if metadata.instructions.pause == nil {
                    decoder.report("'plumb/pause' gives no reason", at: annotation.value.position, fix: Brakes.pauseFix)
                }
            case "plumb/settle":
                metadata.settlePosition = annotation.value.position
                metadata.instructions.settle = Brakes.settle(text)
                if metadata.instructions.settle == nil {
                    decoder.report("'plumb/settle' can't be '\(text)'", at: annotation.value.position, fix: Brakes.settleFix)
                }
            case _ where annotation.key.hasPrefix("plumb/"):
                let known = ["plumb/depends-on", "plumb/pause", "plumb/prune", "plumb/settle"]
                decoder.reportUnknownAnnotation(annotation.key, at: annotation.position, known: known)
            default: break
            }
        }
        diagnostics += decoder.finish()
        return metadata
    }

    static func decodeLabels(_ decoder: inout SpecDecoder) -> [String: String] {
        var labels: [String: String] = [:]
        for (key, position, value) in decoder.takeRest() {
            if let scalar = value.scalar, !scalar.isNull {
                labels[key] = scalar.text
            } else {
                decoder.report("label '\(key)' must have a text", at: position)
            }
        }
        return labels
    }

    static func dependencies(_ text: String, at position: SourcePosition) -> [(name: String, position: SourcePosition)] {
        text.split(separator: ",").map { part in
            (String(part.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()), position)
        }.filter { !$0.0.isEmpty }
    }
}

extension SpecDecoder {
    mutating func reportUnknownAnnotation(_ name: String, at position: SourcePosition, known: [String]) {
        let nearest = Diagnostic.nearest(to: name, among: known).map { "Did you mean '\($0)'? " } ?? ""
        report("unknown annotation '\(name)'", at: position, fix: "\(nearest)Here there are: \(known.joined(separator: ", ")).")
    }
}
