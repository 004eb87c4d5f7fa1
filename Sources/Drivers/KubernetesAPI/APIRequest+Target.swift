extension APIRequest {
    /// Path and query as they stand in the first line of the HTTP request.
    package var target: String {
        guard !query.isEmpty else { return path }
        let items = query.map { "\(PercentEncoding.encodeQuery($0.name))=\(PercentEncoding.encodeQuery($0.value))" }
        return "\(path)?\(items.joined(separator: "&"))"
    }

    /// Takes path and query apart again; the inverse of `target`.
    package init(_ method: Method, target: String, contentType: String? = nil) {
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let query = parts.count > 1 ? parts[1].split(separator: "&") : []
        self.init(
            method,
            String(parts.first ?? ""),
            query: query.map { item in
                let sides = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                return QueryItem(PercentEncoding.decode(sides[0]), sides.count > 1 ? PercentEncoding.decode(sides[1]) : "")
            },
            contentType: contentType
        )
    }

    /// Whether the server was asked to do all but the last step.
    package var isDryRun: Bool { query.contains { $0.name == "dryRun" } }

    /// Whether sending it twice does the same as sending it once, so that it may be sent again when nobody knows if the first one arrived.
    ///
    /// A server-side apply says what should be, not what to change; other patches can hold additions.
    package var isRepeatable: Bool {
        switch method {
        case .get: true
        case .patch: isDryRun || contentType == ContentType.apply
        case .post, .put, .delete: isDryRun
        }
    }
}

/// The media types of request bodies.
package enum ContentType {
    /// JSON is YAML, so a JSON body is right under this name; the server knows no other for server-side apply before 1.32.
    package static let apply = "application/apply-patch+yaml"
    package static let jsonPatch = "application/json-patch+json"
    package static let mergePatch = "application/merge-patch+json"
    package static let json = "application/json"
}

package enum PercentEncoding {
    /// One segment of a path. A slash in it would be another segment, so it is encoded; the colons of RBAC's names may stay.
    package static func encodeSegment(_ text: String) -> String {
        // `.` and `..` are resolved by whoever reads the path, encoded or not; no object can have them as a name.
        encode(text) { isUnreserved($0) || $0 == UInt8(ascii: ":") }
    }

    package static func encodeQuery(_ text: String) -> String { encode(text, isUnreserved) }

    package static func decode(_ text: some StringProtocol) -> String {
        var bytes: [UInt8] = []
        var rest = Substring(text).utf8
        while let byte = rest.popFirst() {
            let digits = rest.prefix(2)
            if byte == UInt8(ascii: "%"), digits.count == 2, let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16) {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func encode(_ text: String, _ stays: (UInt8) -> Bool) -> String {
        var result = ""
        for byte in text.utf8 {
            if stays(byte) {
                result.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let hex = String(byte, radix: 16, uppercase: true)
                result += byte < 16 ? "%0\(hex)" : "%\(hex)"
            }
        }
        return result
    }

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        default: "-._~".utf8.contains(byte)
        }
    }
}
