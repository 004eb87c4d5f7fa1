import Foundation
import KubernetesAPI
import Values

/// An amount as Kubernetes writes it: `1000m`, `1Gi`, `2e3`. Servers write it in their own spelling, so that texts can't be compared.
///
/// Only a dry-run knows what a field means; this spares one where the answer is plain, and helps where none is allowed.
enum Quantity {
    /// Mappings whose values are amounts, whatever their keys are.
    private static let mappings: Set = ["requests", "limits", "hard", "capacity", "allocatable", "default", "defaultRequest", "podFixed"]
    private static let fields: Set = ["sizeLimit", "storage", "divisor"]

    static func areSame(_ a: Value, _ b: Value, at place: ObjectPlace) -> Bool {
        guard let amount = amount(a), amount == self.amount(b) else { return false }
        let names = place.steps.suffix(2).map { $0.fieldName ?? "" }
        return names.count == 2 && mappings.contains(names[0]) || names.last.map(fields.contains) ?? false
    }

    private static let suffixes: [String: Decimal] = [
        "": 1, "n": Decimal(sign: .plus, exponent: -9, significand: 1), "u": Decimal(sign: .plus, exponent: -6, significand: 1),
        "m": Decimal(sign: .plus, exponent: -3, significand: 1), "k": 1000, "M": 1_000_000, "G": 1_000_000_000, "T": 1_000_000_000_000,
        "P": 1_000_000_000_000_000, "E": 1_000_000_000_000_000_000, "Ki": 1024, "Mi": 1_048_576, "Gi": 1_073_741_824, "Ti": 1_099_511_627_776,
        "Pi": 1_125_899_906_842_624, "Ei": 1_152_921_504_606_846_976,
    ]

    static func amount(_ value: Value) -> Decimal? {
        switch value {
        case .int(let number): return Decimal(number)
        case .double(let number): return Decimal(string: "\(number)")
        case .string(let text):
            guard text.utf8.count <= 40 else { return nil }
            let digits = text.prefix { $0.isASCII && ($0.isNumber || ".+-".contains($0)) }
            let suffix = String(text[digits.endIndex...])
            guard digits.contains(where: \.isNumber), let number = Decimal(string: String(digits), locale: Locale(identifier: "en_US_POSIX")) else {
                return nil
            }
            if let factor = suffixes[suffix] { return number * factor }
            guard suffix.first == "e" || suffix.first == "E", let exponent = Int(suffix.dropFirst()), abs(exponent) < 30 else { return nil }
            return number * Decimal(sign: .plus, exponent: exponent, significand: 1)
        default: return nil
        }
    }
}
