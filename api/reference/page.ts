export const renderReference = (_: object): string => '';
