import Values

/// Why a server did not do what it was asked: what it says in a `Status` object, or in plain text where the answer came from elsewhere.
package struct APIStatus: Hashable, Sendable {
    package struct Cause: Hashable, Sendable {
        /// `FieldValueInvalid`, `FieldManagerConflict`, `NamespaceTerminating`, …
        package var reason: String
        package var message: String
        /// As the server writes it: `spec.ports[0].port`, `.spec.type`; may be empty.
        package var field: String
    }

    /// The HTTP status.
    package var code: Int
    /// One word for machines: `NotFound`, `Conflict`, `Invalid`; empty with some errors.
    package var reason: String
    package var message: String
    /// What the message is about: the plural of a kind mostly, its singular with some errors.
    package var kind: String
    package var name: String
    package var causes: [Cause]
    package var retryAfterSeconds: Int?

    /// nil: it was done.
    package init?(_ response: APIResponse) {
        guard !(200..<300).contains(response.status) else { return nil }
        let body = response.body
        code = response.status
        reason = body["reason"]?.stringValue ?? ""
        let text = body["message"]?.stringValue ?? body.stringValue ?? ""
        message = Self.shortened(text)
        let details = body["details"]
        kind = details?["kind"]?.stringValue ?? ""
        name = details?["name"]?.stringValue ?? ""
        causes = (details?["causes"]?.arrayValue ?? []).map { cause in
            Cause(
                reason: cause["reason"]?.stringValue ?? "",
                message: Self.shortened(cause["message"]?.stringValue ?? ""),
                field: cause["field"]?.stringValue ?? ""
            )
        }
        retryAfterSeconds = (details?["retryAfterSeconds"]?.intValue).flatMap { Int(exactly: $0) }
    }

    /// Who the server takes us for, where the message says it: `User "nobody" cannot get resource …`.
    package var user: String? {
        guard let start = message.range(of: "User \"") else { return nil }
        let rest = message[start.upperBound...]
        guard let end = rest.firstIndex(of: "\"") else { return nil }
        return String(rest[..<end])
    }

    /// A right is missing. Quotas, admission webhooks and pod security answer 403 too, but nobody can grant them away.
    package var isMissingRight: Bool { code == 403 && message.contains(" cannot ") && !message.hasPrefix("admission webhook") }

    /// There is no such path: the kind is not served (any more, or yet). A missing object has its name in the answer.
    package var isUnknownPath: Bool {
        code == 404 && (name.isEmpty || reason.isEmpty)
    }

    /// The first line, at a length that fits in a message. Servers put whole objects into some.
    private static func shortened(_ text: String) -> String {
        let line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
        return line.count > 600 ? "\(line.prefix(600))…" : line
    }
}

extension APIStatus: CustomStringConvertible {
    /// `404 NotFound: services "x" not found`
    package var description: String {
        let head = reason.isEmpty ? String(code) : "\(code) \(reason)"
        return message.isEmpty ? head : "\(head): \(message)"
    }
}

extension StringProtocol {
    fileprivate func range(of text: String) -> Range<Index>? { ranges(of: text).first }
}
