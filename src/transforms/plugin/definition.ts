export interface TransformDefinition {
  readonly name: string;
}
