import ResourceModel
import YAML

/// The annotations `plumb/pause` and `plumb/settle`, which every spec may have.
enum Brakes {
    /// `500ms`, `60s`, `2m`, `1h`, up to a day; `0s`: at once. nil: it is none of these.
    static func settle(_ text: String) -> Duration? {
        let units: [(String, Duration)] = [("ms", .milliseconds(1)), ("s", .seconds(1)), ("m", .seconds(60)), ("h", .seconds(3600))]
        guard let (suffix, unit) = units.first(where: { text.hasSuffix($0.0) }) else { return nil }
        let digits = text.dropLast(suffix.count)
        guard digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), let count = Int(digits), count <= 86_400_000 else {
            return nil
        }
        let duration = unit * count
        return duration <= .seconds(86_400) ? duration : nil
    }

    static let settleFix = "Write how long something has to differ before it is put right: 500ms, 60s, 2m; up to 24h; 0s: at once."

    /// nil: it gives no reason, or not a text.
    static func pause(_ node: YAMLNode?, _ scope: Pause.Scope, at position: SourcePosition) -> Pause? {
        guard let scalar = node?.scalar, !scalar.isNull else { return nil }
        return pause(scalar.text, scope, at: position)
    }

    static func pause(_ text: String, _ scope: Pause.Scope, at position: SourcePosition) -> Pause? {
        guard text.contains(where: { !$0.isWhitespace }) else { return nil }
        let reason = text.count > 500 ? "\(text.prefix(500))…" : text
        return Pause(scope, reason: reason, by: position.description, origin: .spec)
    }

    static let pauseFix = "Write why: plumb/pause: \"disk is being replaced\". To go on, take the annotation away."
}

extension DesiredResource.Instructions {
    /// Lays the brakes of another spec that meets here over these: any pause pauses, the longest `settle` counts.
    mutating func addBrakes(of other: Self) {
        pause = pause ?? other.pause
        if let more = other.settle { settle = max(settle ?? .zero, more) }
    }
}
