package import Planning
import Values

extension SavedPlan {
    /// Reads what `Plan.document.prettyJSON` wrote, to the byte.
    package init(file bytes: [UInt8]) throws(Refusal) {
        guard let document = try? Value(json: bytes) else {
            let isCut = bytes.first == UInt8(ascii: "{") && bytes.suffix(2) != [UInt8(ascii: "}"), UInt8(ascii: "\n")]
            throw Refusal(reason: isCut ? "is cut short: plan again" : "is no JSON document, so no plan of Plumb")
        }
        try self.init(document: document)
        // A member that is there twice would show a reader something else than what is compared.
        guard Array(document.prettyJSON.utf8) == bytes else {
            throw Refusal(reason: "was changed after it was written: not a byte may differ; plan again")
        }
    }
}
