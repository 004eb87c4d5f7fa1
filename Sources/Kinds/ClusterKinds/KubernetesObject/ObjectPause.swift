import KubernetesAPI
import ResourceModel
import Values

/// The annotation `plumb/pause` on a live object: `kubectl annotate service web plumb/pause="looking into it"`. Whatever it says, it pauses.
enum ObjectPause {
    static let annotation = "plumb/pause"

    static func message(in live: Value, leaving what: String) -> String? {
        guard let value = live[path: "metadata", "annotations", annotation] else { return nil }
        let place = ObjectPlace().member("metadata").member("annotations").member(annotation)
        let holder = ObjectOwners.holders(of: place, in: ManagedFieldsEntry.entries(of: live)).last
        let who = holder.map { " (by \($0.manager)\($0.time.isEmpty ? "" : " at \($0.time)"))" } ?? ""
        let text = value.stringValue ?? value.description
        let reason = text.contains { !$0.isWhitespace } ? text.count > 500 ? "\(text.prefix(500))…" : text : "no reason given"
        let kind = (live["kind"]?.stringValue ?? "OBJECT").lowercased()
        let name = live[path: "metadata", "name"]?.stringValue ?? "NAME"
        let namespace = live[path: "metadata", "namespace"]?.stringValue.map { " -n \($0)" } ?? ""
        return "paused by the object's annotation \(annotation)\(who): \(reason). It \(what). "
            + "To go on: kubectl annotate \(kind) \(name)\(namespace) \(annotation)-"
    }
}

extension ResourceDrift {
    /// Holds what would be done to an object that says of itself that it is paused.
    func held(byAnnotationOf live: Value?) -> ResourceDrift {
        guard let live, let message = ObjectPause.message(in: live, leaving: differenceWords) else { return self }
        switch standing {
        case .inSync, .problem: return self
        case .missing, .differs, .surplus: break
        }
        var held = self
        held.standing = .problem(.held, message)
        held.isPaused = true
        return held
    }
}
