/// The name of one resource at one target: `pi-1/NetworkInterface/wlan0`, `home/v1/Service/default/kubernetes`.
package struct ResourceAddress: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The name of the Host or Cluster.
    package var target: String
    /// What follows the target and its slash; the kind comes first (for objects: apiVersion and kind).
    package var resource: String

    package init(target: String, resource: String) {
        self.target = target
        self.resource = resource
    }

    package var description: String { "\(target)/\(resource)" }

    package static func < (a: Self, b: Self) -> Bool {
        (a.target, a.resource) < (b.target, b.resource)
    }
}

extension ResourceAddress: Codable {
    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else {
            throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: "'\(text)' is no resource address"))
        }
        self.init(target: String(parts[0]), resource: String(parts[1]))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
